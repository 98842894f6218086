"""The edge API as the operator uses it: admin calls, the change stream, and the fleet as last told."""
