"""How good could it be, and what to buy: fleet plans and bounds by OR-Tools."""
