"""What arrives: read, describe, resample and synthesize traffic traces."""
