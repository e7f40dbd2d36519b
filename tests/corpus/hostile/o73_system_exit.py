# 73 SystemExit(0)
# verdict: output_missing
"""Claims success by SystemExit."""

raise SystemExit(0)
