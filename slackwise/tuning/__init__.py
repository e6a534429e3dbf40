"""The search: paired comparison, capacity and tuning."""
