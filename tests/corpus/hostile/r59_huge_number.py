# 59 10**10**8
# verdict: cpu_limit
"""One operation that computes for hours, with no chance for Python to look at signals."""


def make_gif(path):
    return 10 ** (10**8)
