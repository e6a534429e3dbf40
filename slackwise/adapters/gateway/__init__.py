"""A bundle for clusters without Ray: a scaler that KEDA asks, and an endpoint picker that Envoy asks, over gRPC."""
