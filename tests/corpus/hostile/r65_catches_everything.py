# 65 catches BaseException for ever
# verdict: cpu_limit
"""Swallows every exception, for ever."""


def make_gif(path):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
