# 105 many files, but only between two looks of the watch
# verdict: disk_limit
# verdict(no-read-confinement): error
"""Writes 200 MB in all, each file gone before anybody looks."""

import os


def make_gif(path):
    block = bytes(3 * 2**20)
    for number in range(70):
        with open("hidden", "wb") as file:
            file.write(block)
        os.unlink("hidden")
