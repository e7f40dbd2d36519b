"""The output is a symbolic link to somebody's file."""

import os


def make_gif(path):
    os.symlink("@CANARY@", path)
