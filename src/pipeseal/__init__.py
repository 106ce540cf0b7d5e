"""Pipeseal: CI whose control plane need not be trusted."""

__version__ = "0.1.0"
