"""May this job run? Pure functions from evidence to a decision."""
