# 91b an exception whose __str__ loops
# verdict: cpu_limit
"""An exception whose text never comes."""


class Odd(Exception):
    def __str__(self):
        while True:
            pass


def make_gif(path):
    raise Odd()
