# 13 out.gif = directory
# verdict: output_bad error
"""The output is a directory."""

import os


def make_gif(path):
    os.mkdir(path)
