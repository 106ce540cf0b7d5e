"""A control plane that lies, and the agent that must not obey."""
