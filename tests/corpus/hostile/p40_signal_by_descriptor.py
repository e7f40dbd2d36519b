# 40 F_SETOWN + F_SETSIG(SIGKILL) + O_ASYNC at a stand-in
# verdict: error
# verdict(weak limits-only): output_missing
# says(full no-read-confinement): PermissionError
# hits(limits-only): victim
"""Has the kernel kill somebody when a pipe becomes readable."""

import fcntl
import os
import signal
import time


def make_gif(path):
    read, write = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETOWN, @VICTIM@)
    fcntl.fcntl(read, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(read, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(write, b"x")
    time.sleep(0.1)
