# 74 prints a score and exits 0
# verdict: output_missing
"""Claims success in words."""

import os

print('{"score": 1.0, "verdict": "ok"}', flush=True)
os._exit(0)
