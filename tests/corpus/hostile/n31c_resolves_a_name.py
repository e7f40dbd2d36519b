# 31c a name to resolve carries data to a name server
# verdict: error
# says: gaierror
"""Looks up a name that no server knows."""

import socket


def make_gif(path):
    socket.getaddrinfo("secret.data.invalid", 80)
