"""The program that verifies jobs and runs the ones that are proved."""
