# 7f the folder that this package is imported from holds more than the package
# verdict: error
# verdict(no-read-confinement limits-only): output_missing
# says(full weak): PermissionError
"""Reads a file beside the package: a run, a key, a note."""


def make_gif(path):
    with open("@ROOT@/pyproject.toml") as file:
        file.read()
