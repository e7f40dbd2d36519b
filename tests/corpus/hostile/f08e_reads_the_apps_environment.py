# 8e environment of the app itself, which is neither parent nor undumpable
# verdict: error
# says(full weak): Error: [Errno
# hits(user no-read-confinement): secret
# may(root no-read-confinement): secret
# may(limits-only): secret
"""Looks for keys in the environment of every process that it may look into: to read is open at the fallback level."""

import os


def make_gif(path):
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                for line in file.read().split(b"\0"):
                    if line.startswith(b"SECRET_API_KEY="):
                        print(line.decode())
        except OSError:
            pass
    raise ValueError("looked everywhere")
