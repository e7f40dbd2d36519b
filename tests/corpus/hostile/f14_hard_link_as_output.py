# 14 out.gif = hard link to the canary
# verdict: error
# verdict(limits-only): output_bad
# says(full no-read-confinement weak): Error: [Errno
"""The output is a second name of somebody's file."""

import os


def make_gif(path):
    os.link("@CANARY@", path)
