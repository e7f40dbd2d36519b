# 48c what a capability would allow: to open a file of mode 000
# verdict: error
# says: PermissionError
"""Makes a file that nobody may read, and reads it."""

import os


def make_gif(path):
    os.close(os.open(path + ".closed", os.O_WRONLY | os.O_CREAT, 0))
    open(path + ".closed", "rb").close()
