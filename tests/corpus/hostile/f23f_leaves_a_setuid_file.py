# 23f a file with the set-user bit, made by the mode of open
# verdict: output_bad error
"""Makes its output a set-user-ID file that everybody may run."""

import os


def make_gif(path):
    os.umask(0)
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o6777)
    os.write(file, b"#!/bin/sh\n")
    os.close(file)
