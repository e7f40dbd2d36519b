# 51 while True
# verdict: cpu_limit
# says: s of CPU, the limit is 
"""Never ends, computing."""


def make_gif(path):
    while True:
        pass
