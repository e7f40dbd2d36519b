# 10c O_RDONLY with O_TRUNC on a library: old kernels count it as reading (py.typed has no bytes to lose)
# verdict: error
# says: PermissionError
# only: full no-read-confinement weak
"""Opens a file that every program may read so that it is emptied."""

import os

import PIL


def make_gif(path):
    os.close(os.open(os.path.join(os.path.dirname(PIL.__file__), "py.typed"), os.O_RDONLY | os.O_TRUNC))
