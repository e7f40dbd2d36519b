# 25c sendto with MSG_FASTOPEN connects without connect
# verdict: error
# verdict(weak limits-only): output_missing error
# says(full no-read-confinement): PermissionError
# may(weak limits-only): tcp
"""Connects by sending, a way that Landlock did not see for a while."""

import socket


def make_gif(path):
    with socket.socket() as call:
        call.settimeout(2)
        call.sendto(b"hello", socket.MSG_FASTOPEN, ("127.0.0.1", @TCP@))
