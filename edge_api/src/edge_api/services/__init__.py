"""What the edge API does, without any word of HTTP."""
