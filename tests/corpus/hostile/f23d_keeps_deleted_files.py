# 23d files that are open and deleted take room that no directory shows
# verdict: disk_limit
# verdict(no-read-confinement): error
# says(full weak limits-only): wrote more than
"""Writes 20 files of 3 MB, deletes each and keeps it open."""


import os


def make_gif(path):
    kept = []
    for number in range(20):
        file = open(f"{path}.{number}", "wb")
        os.unlink(file.name)
        file.write(bytes(3 * 2**20))
        kept.append(file)
    # Written in 20 ms: without some more work it could be over before anyone looks.
    sum(range(10**7))
