"""The only package that calls the apiserver; kopf's watches run in `handlers`."""
