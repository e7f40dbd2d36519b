"""Claims success in words."""

import os

print('{"score": 1.0, "verdict": "ok"}', flush=True)
os._exit(0)
