# 34e a daemon that keeps standard output open
# verdict: error
# verdict(root weak limits-only): process_limit output_missing
"""Ends at once; its child keeps the pipes open and prints on."""

import os
import time


def make_gif(path):
    if os.fork() == 0:
        os.setsid()
        for _ in range(1000):
            os.write(1, b"x" * 1000)
            time.sleep(0.01)
        os._exit(0)
