"""An exception with 50 MB of text."""


def make_gif(path):
    raise ValueError("x" * (50 * 2**20))
