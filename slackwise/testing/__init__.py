"""Conformance kits that any third-party policy can run."""
