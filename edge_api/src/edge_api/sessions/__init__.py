"""The sessions of this process: state, leases held, and frames on their way to a worker."""
