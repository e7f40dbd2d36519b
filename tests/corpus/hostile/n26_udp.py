# 26 UDP
# verdict: error
# verdict(weak limits-only): output_missing error
# says(full no-read-confinement): PermissionError
# may(weak limits-only): udp
"""Sends a datagram."""

import socket


def make_gif(path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as call:
        call.sendto(b"hello", ("127.0.0.1", @UDP@))
