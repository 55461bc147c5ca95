"""Many clients at once against the real service; see docs/load.md."""
