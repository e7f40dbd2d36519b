# 34 double fork + setsid daemon
# verdict: error
# verdict(root weak limits-only): process_limit output_missing
# says(full no-read-confinement): Error: [Errno
"""Double fork and a session of its own: gone from the tree."""

import os
import time


def make_gif(path):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
