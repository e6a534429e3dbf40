"""What happens: the compiled kernel, the reference stepper, clusters and metrics."""
