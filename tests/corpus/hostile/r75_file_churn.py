# 104 makes and removes files all the time, never more than one
# verdict: cpu_limit wall_limit disk_limit error
# limits: brief
"""Never holds more than one file, but never stops."""

import os


def make_gif(path):
    while True:
        open("churn", "wb").close()
        os.unlink("churn")
