# 62 endless print
# verdict: cpu_limit wall_limit disk_limit
"""Prints without end."""


def make_gif(path):
    while True:
        print("x" * 1000)
