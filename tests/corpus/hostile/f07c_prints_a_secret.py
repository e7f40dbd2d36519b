# 7c read a file and print it
# verdict: error
# verdict(no-read-confinement limits-only): output_missing
# says(full weak): PermissionError
# hits(no-read-confinement limits-only): secret
"""Reads somebody's file and prints it."""


def make_gif(path):
    with open("@SECRET@") as file:
        print(file.read())
