"""Fleet plans: the cheapest instances for a forecast of traffic (the catalogue's ilp, robust_ilp and forecast_ilp)."""
