# 35 subprocess.run
# verdict: error
# verdict(root weak limits-only): error process_limit
"""Starts another program."""

import subprocess


def make_gif(path):
    subprocess.run(["sleep", "60"], check=True)
