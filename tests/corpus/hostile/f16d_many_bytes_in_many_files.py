# 16d 60 MB in 20 files
# verdict: disk_limit
# verdict(no-read-confinement): error
"""Each file is small enough, together they are not."""


def make_gif(path):
    for number in range(20):
        with open(f"{path}.{number}", "wb") as file:
            file.write(bytes(3 * 2**20))
