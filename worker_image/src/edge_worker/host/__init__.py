"""The host: files, locks, signals and process trees (where systems differ), and the local control socket."""
