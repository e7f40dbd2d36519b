# 15 out.gif = device node
# verdict: error
# verdict(root limits-only): output_bad error
# says(full no-read-confinement weak): PermissionError
"""The output is /dev/zero by another name (only root can make it)."""

import os
import stat


def make_gif(path):
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
