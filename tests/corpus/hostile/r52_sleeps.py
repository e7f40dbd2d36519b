# 52 sleep 10^6
# verdict: wall_limit
# says: (it used 0.
# limits: brief
"""Never ends, idle."""

import time


def make_gif(path):
    time.sleep(10**6)
