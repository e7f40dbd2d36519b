# 112 a make_gif that is no function but does something at every touch
# verdict: error output_missing
"""Raises when it is looked at."""


class Trap:
    def __getattribute__(self, name):
        raise SystemExit(0)

    def __call__(self, path):
        raise KeyboardInterrupt


make_gif = Trap()
