"""Claims success by SystemExit."""

raise SystemExit(0)
