# 86 wrong arity
# verdict: error
# says: TypeError: make_gif() takes 0 positional arguments but 1 was given
"""Takes no path."""


def make_gif():
    pass
