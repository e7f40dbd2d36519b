"""Prints without end."""


def make_gif(path):
    while True:
        print("x" * 1000)
