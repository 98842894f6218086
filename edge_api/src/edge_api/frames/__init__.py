"""One file for the story of each frame that a worker sends."""
