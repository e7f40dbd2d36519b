# 36 os.system("touch ...")
# verdict: error
# verdict(root weak): error process_limit
# verdict(root limits-only): error process_limit output_missing
# may(root limits-only): files
"""Has a shell make a file."""

import os


def make_gif(path):
    if os.system("touch @OUTSIDE@/stray"):
        raise OSError("the shell failed")
