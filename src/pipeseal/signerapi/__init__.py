"""What an agent, its jobs and the signer say to each other. Imported by every upload: only the standard library."""
