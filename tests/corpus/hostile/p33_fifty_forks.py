# 33 fork x50
# verdict: error
# verdict(root weak limits-only): process_limit
# says(full no-read-confinement): Error: [Errno
"""A bounded fork bomb."""

import os
import time


def make_gif(path):
    for _ in range(50):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    time.sleep(30)
