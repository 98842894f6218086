"""The only part that talks to the apiserver (kopf's watches in `handlers` apart)."""
