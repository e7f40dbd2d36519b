# 31b every other family of sockets
# verdict: error
# says(full no-read-confinement): families: []
"""Tries every address family that there is."""

import socket


def make_gif(path):
    found = []
    for family in range(64):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
                found.append(family)
            except OSError:
                pass
    raise ValueError(f"families: {sorted(set(found))}")
