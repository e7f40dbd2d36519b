# 8c /proc/self/mem writes pages that are read-only
# verdict: error
# says(full weak no-read-confinement): Error: [Errno
"""Opens its own memory for writing, past what mprotect would allow."""


def make_gif(path):
    open("/proc/self/mem", "r+b").close()
    raise ValueError("opened")
