"""The offline optimum of a schedule, as a ladder of bounds."""
