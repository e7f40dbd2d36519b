"""A bounded fork bomb."""

import os
import time


def make_gif(path):
    for _ in range(50):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    time.sleep(30)
