"""May this job run? Pure functions from what a server claims to a decision."""
