"""What a pipeline says: reading, normalising, interpolating and rendering it."""
