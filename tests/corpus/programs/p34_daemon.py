"""Double fork and a session of its own: gone from the tree."""

import os
import time


def make_gif(path):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
