"""The experiments of ModServe (SoCC 2025), one a file, each beside what the paper says."""
