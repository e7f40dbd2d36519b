"""Puts a link in the place of its directory."""

import os


def make_gif(path):
    folder = os.path.dirname(path)
    os.rmdir(folder)
    os.symlink(os.path.dirname("@CANARY@"), folder)
