# 72 os._exit(0) at once
# verdict: output_missing
"""Claims success by exit status."""

import os

os._exit(0)
