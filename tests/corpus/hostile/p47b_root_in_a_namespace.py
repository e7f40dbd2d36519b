# 47b what the capabilities of a namespace are good for
# verdict: error
# says(full no-read-confinement): PermissionError
# says(weak limits-only): gained: []
# says(root limits-only): gained: [] | gained: ['/etc/shadow']
"""Becomes root of a user namespace, and tries what only root may."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    uid = os.getuid()
    if libc.unshare(0x10000000):
        error = ctypes.get_errno()
        raise PermissionError(error, os.strerror(error))
    gained = []
    try:
        with open("/proc/self/uid_map", "w") as file:
            file.write(f"0 {uid} 1")
    except OSError:
        pass
    for name in ("/etc/shadow", "/proc/1/environ", "/dev/mem", "/dev/kmsg"):
        try:
            open(name, "rb").close()
            gained.append(name)
        except OSError:
            pass
    raise ValueError(f"gained: {gained}")
