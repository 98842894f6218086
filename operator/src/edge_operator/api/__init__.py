"""Types of the custom resources: names, spec models, conditions. No I/O and no decisions."""
