"""Worker hosts outside Kubernetes: systemd in a container, and a Compose project."""
