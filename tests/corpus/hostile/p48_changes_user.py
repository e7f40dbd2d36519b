# 48 setuid and its kin
# verdict: error
# says(full no-read-confinement): changed: []
"""Becomes somebody else."""

import os


def make_gif(path):
    changed = []
    for name, call in {
        "setuid": lambda: os.setuid(os.getuid()),
        "setgid": lambda: os.setgid(os.getgid()),
        "setresuid": lambda: os.setresuid(-1, -1, -1),
        "setgroups": lambda: os.setgroups([]),
        "setsid": os.setsid,
        "setpgid": lambda: os.setpgid(0, 0),
    }.items():
        try:
            call()
            changed.append(name)
        except OSError:
            pass
    raise ValueError(f"changed: {changed}")
