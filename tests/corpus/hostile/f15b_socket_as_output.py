# 15b out.gif = Unix socket
# verdict: error
# verdict(limits-only): output_bad
# says(full no-read-confinement weak): PermissionError
"""The output is a Unix socket."""

import os
import socket


def make_gif(path):
    os.chdir(os.path.dirname(path))
    server = socket.socket(socket.AF_UNIX)
    server.bind("out.gif")
