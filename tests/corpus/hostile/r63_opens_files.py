# 63 fd exhaustion
# verdict: error
# says: OSError: [Errno 24] Too many open files
"""Runs out of file descriptors."""


def make_gif(path):
    kept = []
    while True:
        kept.append(open("/dev/null"))
