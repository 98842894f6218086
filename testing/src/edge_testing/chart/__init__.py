"""The Helm chart: rendering it, installing it on an apiserver, and the files that are generated for it."""
