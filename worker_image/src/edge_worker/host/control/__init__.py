"""How commands on this host talk to the running agent: a local socket with one JSON object per line."""
