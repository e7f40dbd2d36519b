# 115 prints what the harness would print, then ends well
# verdict: error
"""Claims another error than it has."""

import sys


def make_gif(path):
    print("Traceback (most recent call last):\n  File \"program.py\", line 1, in x\n    y\nSandboxError: machine broken")
    sys.stdout.flush()
    raise SystemExit("x" * 5000)
