# 50 hop-fork daemon, 300 hops of 5 ms
# verdict: error
# verdict(root weak limits-only): process_limit output_missing
# says(full no-read-confinement): Error: [Errno
"""A daemon that forks and leaves itself behind, 300 times."""

import os
import time


def make_gif(path):
    if os.fork():
        return
    for _ in range(300):
        os.setsid()
        time.sleep(0.005)
        if os.fork():
            os._exit(0)
    os._exit(0)
