"""Runs out of file descriptors."""


def make_gif(path):
    kept = []
    while True:
        kept.append(open("/dev/null"))
