"""Workers as people see and request them: views, desired state, version policy, changes, explain."""
