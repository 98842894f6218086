"""Starting tasks from the agent's side: runner processes, their replacement, and what they have learned."""
