# 23 write /dev/shm/x
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): shm
"""Leaves a file in shared memory."""


def make_gif(path):
    with open("/dev/shm/@NAME@", "w") as file:
        file.write("x")
