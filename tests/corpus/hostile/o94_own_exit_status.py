# 94a ends with the status of our own failures
# verdict: error
"""Ends with the status that means a failure of ours."""

import os

os._exit(70)
