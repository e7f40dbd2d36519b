# 122 64 KB that look like our own report of a crash, over and over, and never end
# verdict: error
"""Prints headers and frames of a traceback without end."""

import os


def make_gif(path):
    os.write(2, b"Traceback (most recent call last):\n" * 1000)
    os.write(2, b'  File "program.py", line 99999999999999999999999999, in x\n    y\n' * 900)
    os.write(2, b'  File "program.py", line ' + b"1" * 30_000)
    os._exit(1)
