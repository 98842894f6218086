"""Builds the container images with Docker or buildah: `make images`.

Nothing but the standard library is imported: it runs before the project is installed.
"""
