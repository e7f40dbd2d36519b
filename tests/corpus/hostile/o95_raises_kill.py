# 94b sends itself SIGKILL
# verdict: crashed
# says: SIGKILL
"""Sends itself the signal that a limit would send."""

import os
import signal

os.kill(os.getpid(), signal.SIGKILL)
