"""A reproduction: the experiments run, kept in a folder, and told."""
