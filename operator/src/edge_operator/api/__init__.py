"""The objects' own types: names, spec models, conditions. No I/O and no decisions."""
