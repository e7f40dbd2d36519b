# 10 append to PIL/__init__.py; opened only, so that nothing happens where it is allowed
# verdict: error
# verdict(root limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
"""Opens a module that every later program will import, to append to it."""

import PIL


def make_gif(path):
    open(PIL.__file__, "a").close()
