"""The output is a FIFO: who opens it naively waits for ever."""

import os


def make_gif(path):
    os.mkfifo(path)
