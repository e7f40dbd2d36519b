"""Starts another program."""

import subprocess


def make_gif(path):
    subprocess.run(["sleep", "60"], check=True)
