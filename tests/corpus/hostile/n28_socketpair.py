# 28 socketpair
# verdict: error
# verdict(weak limits-only): output_missing
# says(full no-read-confinement): PermissionError
"""Makes a pair of sockets, the first step of passing descriptors."""

import socket


def make_gif(path):
    socket.socketpair()
