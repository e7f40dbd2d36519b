"""Never ends, computing."""


def make_gif(path):
    while True:
        pass
