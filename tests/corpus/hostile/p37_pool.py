# 37 multiprocessing.Pool
# verdict: error
# verdict(root weak limits-only): error process_limit wall_limit
"""Starts a pool of workers."""

import multiprocessing


def make_gif(path):
    with multiprocessing.Pool(2) as pool:
        pool.map(abs, [1, 2, 3])
    raise ValueError("the pool worked")
