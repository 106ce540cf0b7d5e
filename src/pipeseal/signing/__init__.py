"""Keys, canonical bytes, signatures."""
