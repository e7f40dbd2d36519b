"""The one function has another name."""


def draw_gif(path):
    pass
