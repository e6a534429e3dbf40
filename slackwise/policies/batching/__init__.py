"""Batching: which waiting request runs next. One file a concept; the registry finds them by itself."""
