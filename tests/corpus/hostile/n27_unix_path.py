# 27 AF_UNIX socket with a path
# verdict: error
# verdict(weak limits-only): output_missing
# says(full no-read-confinement): PermissionError
# hits(weak limits-only): unix
"""Talks to a server of this machine by its path."""

import os
import socket


def make_gif(path):
    os.chdir("@HOME@")
    with socket.socket(socket.AF_UNIX) as call:
        call.connect("server")
        call.sendall(b"hello")
