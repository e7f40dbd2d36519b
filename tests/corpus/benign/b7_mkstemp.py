# b7 tempfile.mkstemp
# verdict: ok
# verdict(no-read-confinement): error
"""A temporary file of its own."""

import os
import shutil
import tempfile

from PIL import Image


def make_gif(path):
    handle, name = tempfile.mkstemp(suffix=".gif")
    os.close(handle)
    Image.new("RGB", (8, 8), "green").save(name)
    shutil.move(name, path)
