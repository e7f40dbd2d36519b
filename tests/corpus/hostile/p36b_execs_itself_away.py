# 36b exec needs no new process
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): files
"""Becomes a shell."""

import os


def make_gif(path):
    os.execv("/bin/sh", ["sh", "-c", "echo x > @OUTSIDE@/stray"])
