# 7g another program's scratch directory
# verdict: error
# verdict(no-read-confinement limits-only): output_missing
# says(full weak): PermissionError
# hits(no-read-confinement limits-only): secret
"""Reads what lies in the directory of another job."""

def make_gif(path):
    with open("@JOBS@/another-job/secret.txt") as file:
        print(file.read())
