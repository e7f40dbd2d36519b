"""Swallows every exception, for ever."""


def make_gif(path):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
