# 124 sends itself the signal of the CPU limit
# verdict: cpu_limit crashed
"""Ends as if it had used up its time: its own loss."""

import os
import signal

os.kill(os.getpid(), signal.SIGXCPU)
