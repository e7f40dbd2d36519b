"""Many tiny files."""


def make_gif(path):
    for number in range(10_000):
        open(f"{path}.{number}", "w").close()
