"""The wire contract that agent and control plane share."""
