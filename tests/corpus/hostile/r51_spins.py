# 51 while True
# verdict: cpu_limit
# says: s of CPU, which is the limit
"""Never ends, computing."""


def make_gif(path):
    while True:
        pass
