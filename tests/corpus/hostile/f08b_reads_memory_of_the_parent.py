# 8b read /proc/ppid/mem and maps
# verdict: error
# says: Error: [Errno
"""Opens the memory of the process that started it."""

import os


def make_gif(path):
    for name in ("mem", "maps"):
        open(f"/proc/{os.getppid()}/{name}", "rb").close()
    raise ValueError("opened")
