# 16 10,000 tiny files
# verdict: disk_limit
# verdict(no-read-confinement): error
"""Many tiny files."""


def make_gif(path):
    for number in range(10_000):
        open(f"{path}.{number}", "w").close()
