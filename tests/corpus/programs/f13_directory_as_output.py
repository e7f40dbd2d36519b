"""The output is a directory."""

import os


def make_gif(path):
    os.mkdir(path)
