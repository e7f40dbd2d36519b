# 56 numpy 8 GB
# verdict: memory_limit
# limits: roomy
"""Asks for 8 GB at once."""

import numpy as np


def make_gif(path):
    np.ones(10**9)
