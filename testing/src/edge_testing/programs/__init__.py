"""Where the programs come from that tests start, on a machine with nothing installed."""
