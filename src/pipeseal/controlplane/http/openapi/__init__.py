"""The OpenAPI description of everything that the server serves, made from its routes and message types."""
