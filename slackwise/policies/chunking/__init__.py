"""Chunking: how many images one encode job takes. One file a concept; the registry finds them by itself."""
