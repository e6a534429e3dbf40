"""Provisioning: how many instances each pool has. One file a concept; the registry finds them by itself."""
