# 7k what a program knows anyway, carried out inside a good GIF
# verdict: ok
"""Writes host name, user number, paths of the interpreter and uptime into the comment of its GIF: open at every level."""

import os
import sys
import time

from PIL import Image


def make_gif(path):
    words = f"{os.uname()} {os.getuid()} {sys.prefix} {sys.base_prefix} {os.getcwd()} {time.time()} {os.getppid()}"
    Image.new("P", (8, 8)).save(path, comment=words.encode())
