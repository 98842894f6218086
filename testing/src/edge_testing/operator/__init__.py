"""The operator under its real rights, with a node whose pods are agent processes."""
