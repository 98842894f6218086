"""The command line `edge-api`, one file per noun."""
