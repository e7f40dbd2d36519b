# 4 chmod 000 on somebody's file
# verdict: error
# verdict(weak limits-only): output_missing
# says(full no-read-confinement): PermissionError
# hits(weak limits-only): canary
"""Takes all rights away from somebody's file."""

import os


def make_gif(path):
    os.chmod("@CANARY@", 0)
