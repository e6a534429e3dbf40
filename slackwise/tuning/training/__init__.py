"""Training in the environments: what is learned, by which algorithm, and what it was worth. Needs the extra `rl`."""
