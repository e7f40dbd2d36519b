"""Takes no path."""


def make_gif():
    pass
