# 29 AF_VSOCK: to the host of a virtual machine
# verdict: error
# verdict(weak limits-only): output_missing error
# says(full no-read-confinement): PermissionError
"""Makes a socket to the host of this virtual machine."""

import socket


def make_gif(path):
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
