# 84 no make_gif
# verdict: error
# says: no function make_gif; the program defines draw_gif
"""The one function has another name."""


def draw_gif(path):
    pass
