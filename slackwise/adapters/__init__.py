"""Deployment: what runs a tuned service inside real engines."""
