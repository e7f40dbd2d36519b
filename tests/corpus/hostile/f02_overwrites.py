# 2 overwrite somebody's file
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): canary
"""Writes over somebody's file."""


def make_gif(path):
    with open("@CANARY@", "w") as file:
        file.write("gone")
