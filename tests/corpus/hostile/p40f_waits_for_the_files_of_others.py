# 40f locks and leases on files that others read
# verdict: error
# says(full no-read-confinement): got: []
"""Puts locks, a lease and a watch on a file and a folder that every later program needs."""

import fcntl
import os
import signal

import PIL


def make_gif(path):
    got = []
    file = os.open(PIL.__file__, os.O_RDONLY)
    folder = os.open(os.path.dirname(PIL.__file__), os.O_RDONLY)
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    for name, attempt in {
        "lease": lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK),
        "lease for writing": lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK),
        "watch": lambda: fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_ACCESS | fcntl.DN_MULTISHOT),
        "flock": lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB),
        "pipe size": lambda: fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 2**20),
    }.items():
        try:
            attempt()
            got.append(name)
        except OSError:
            pass
    raise ValueError(f"got: {got}")
