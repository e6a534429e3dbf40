"""The offline solver report: what to buy, how sure that is, and what would change it."""
