# 20 setxattr on somebody's file
# verdict: error
# verdict(weak limits-only): output_missing
# says(full no-read-confinement): PermissionError
# hits(weak limits-only): canary
"""Puts an extended attribute on somebody's file."""

import os


def make_gif(path):
    os.setxattr("@CANARY@", "user.localgif", b"was here")
