"""Routing: which instance gets a request or an encode job. One file a concept; the registry finds them by itself."""
