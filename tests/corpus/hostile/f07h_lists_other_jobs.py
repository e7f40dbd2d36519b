# 7h which other jobs are there?
# verdict: error
# verdict(no-read-confinement limits-only): output_missing
# says(full weak): PermissionError
"""Lists the folder that holds all scratch directories."""

import os


def make_gif(path):
    print(os.listdir("@JOBS@"))
