"""What the control plane knows, without storage or network."""
