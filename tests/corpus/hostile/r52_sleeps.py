# 52 sleep 10^6
# verdict: wall_limit
# says: ran for more than 1 s, which is the limit
# limits: brief
"""Never ends, idle."""

import time


def make_gif(path):
    time.sleep(10**6)
