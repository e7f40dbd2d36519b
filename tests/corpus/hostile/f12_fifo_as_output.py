# 12 out.gif = FIFO
# verdict: error
# verdict(limits-only): output_bad
# says(full no-read-confinement weak): PermissionError
"""The output is a FIFO: who opens it naively waits for ever."""

import os


def make_gif(path):
    os.mkfifo(path)
