"""The benchmark behind `scripts/bench`: yardsticks, rows and the report."""
