"""What is decided: features, routing, batching, chunking, provisioning."""
