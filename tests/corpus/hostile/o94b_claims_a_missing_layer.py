# 123 ends with the status that means a missing layer
# verdict: error
"""Claims that this machine has no sandbox."""

import os

print("Landlock is not available: claimed", flush=True)
os._exit(71)
