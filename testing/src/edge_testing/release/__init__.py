"""A release of the chart on a cluster, as its users have it."""
