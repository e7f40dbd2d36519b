# 17b one file of 6 MB beside the output: more than a file may have, less than the directory may hold
# verdict: error
# says: File too large
# says(no-read-confinement): PermissionError
"""Writes more into one file than a file may hold."""


def make_gif(path):
    with open(path + ".data", "wb", buffering=0) as file:
        written = 0
        while written < 6 * 2**20:
            written += file.write(bytes(2**20))
