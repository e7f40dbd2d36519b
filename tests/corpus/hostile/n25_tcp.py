# 25 TCP to a listener
# verdict: error
# verdict(limits-only): output_missing error
# says(full no-read-confinement): PermissionError
# may(limits-only): tcp
"""Calls a server."""

import socket


def make_gif(path):
    with socket.create_connection(("127.0.0.1", @TCP@), timeout=2) as call:
        call.sendall(b"hello")
