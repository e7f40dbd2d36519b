# 91c an exception with 50 MB of text
# verdict: error
# says: ValueError: xxxxx
"""An exception with 50 MB of text."""


def make_gif(path):
    raise ValueError("x" * (50 * 2**20))
