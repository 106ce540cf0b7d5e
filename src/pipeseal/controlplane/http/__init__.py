"""The server's doors."""
