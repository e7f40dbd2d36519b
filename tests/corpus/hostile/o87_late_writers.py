# 87 atexit and __del__ writers
# verdict: error
"""Code that wants to run after the end."""

import atexit


class Late:
    def __del__(self):
        print("late writer ran")


kept = Late()
atexit.register(print, "late writer ran")


def make_gif(path):
    raise ValueError("done")
