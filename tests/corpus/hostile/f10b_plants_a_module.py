# 10b a file that Python would import or run at its next start
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): files
"""Leaves a module where a stand-in site directory is."""


def make_gif(path):
    with open("@OUTSIDE@/sitecustomize.py", "w") as file:
        file.write("print('planted')")
