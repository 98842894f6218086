"""The edge API as the operator uses it: calls of the admin API, and the fleet as its change stream reports it."""
