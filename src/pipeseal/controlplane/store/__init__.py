"""The control plane's memory."""
