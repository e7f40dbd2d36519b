# 34f many daemons at once, each a session of its own
# verdict: error
# verdict(root weak limits-only): process_limit output_missing
"""Thirty daemons, so that a kill loop has something to do."""

import os
import time


def make_gif(path):
    for _ in range(30):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            time.sleep(60)
            os._exit(0)
