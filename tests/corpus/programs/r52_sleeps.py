"""Never ends, idle."""

import time


def make_gif(path):
    time.sleep(10**6)
