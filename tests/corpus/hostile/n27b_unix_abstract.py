# 27b AF_UNIX socket with an abstract name
# verdict: error
# verdict(limits-only): output_missing error
# says(full no-read-confinement): PermissionError
# says(weak): PermissionError | ConnectionRefused
# may(limits-only): unix
"""Talks to a server of this machine by a name that is no path."""

import socket


def make_gif(path):
    with socket.socket(socket.AF_UNIX) as call:
        call.connect("\0@NAME@")
        call.sendall(b"hello")
