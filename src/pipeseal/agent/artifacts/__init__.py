"""Artifacts, from the agent's side: finding files, sending them to the store, finding and fetching them again."""
