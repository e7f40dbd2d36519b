# 25b a server of its own
# verdict: error
# verdict(limits-only): output_missing error
# says(full no-read-confinement): PermissionError
"""Waits for calls, and calls itself."""

import socket


def make_gif(path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=2).close()
