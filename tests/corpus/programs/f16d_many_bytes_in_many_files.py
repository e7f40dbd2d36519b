"""Each file is small enough, together they are not."""


def make_gif(path):
    for number in range(20):
        with open(f"{path}.{number}", "wb") as file:
            file.write(bytes(3 * 2**20))
