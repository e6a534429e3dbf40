"""Admission: who is served at all. One file a concept; the registry finds them by itself."""
