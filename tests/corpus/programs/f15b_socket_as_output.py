"""The output is a Unix socket."""

import os
import socket


def make_gif(path):
    os.chdir(os.path.dirname(path))
    server = socket.socket(socket.AF_UNIX)
    server.bind("out.gif")
