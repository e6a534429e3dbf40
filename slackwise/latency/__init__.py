"""What a stage costs: models, GPUs, a roofline, and fits to measurements."""
