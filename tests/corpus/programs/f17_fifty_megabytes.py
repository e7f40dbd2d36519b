"""An output far over the limit."""


def make_gif(path):
    with open(path, "wb") as file:
        for _ in range(50):
            file.write(bytes(2**20))
