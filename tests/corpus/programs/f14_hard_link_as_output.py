"""The output is a second name of somebody's file."""

import os


def make_gif(path):
    os.link("@CANARY@", path)
