# 7 read /etc/passwd
# verdict: error
# verdict(no-read-confinement limits-only): output_missing
# says(full weak): PermissionError
"""Reads who else uses this machine."""


def make_gif(path):
    with open("/etc/passwd") as file:
        file.read()
