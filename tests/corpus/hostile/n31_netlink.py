# 31 AF_NETLINK
# verdict: error
# verdict(weak limits-only): output_missing
# says(full no-read-confinement): PermissionError
"""Makes a socket that configures the network."""

import socket


def make_gif(path):
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
