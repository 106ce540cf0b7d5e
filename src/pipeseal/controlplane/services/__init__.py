"""One file for each thing that happens on the server."""
