# 111 raises through the harness into whatever called it, with every class of exception
# verdict: error output_missing crashed
"""Ends with an exception that is no Exception, with a class that answers every question wrongly."""


class Meta(type):
    def __subclasscheck__(cls, other):
        return True

    def __instancecheck__(cls, other):
        return True


class Odd(BaseException, metaclass=Meta):
    @property
    def __class__(self):
        return SystemExit

    @property
    def code(self):
        return 0

    @property
    def __traceback__(self):
        raise KeyboardInterrupt

    def __str__(self):
        raise self


def make_gif(path):
    raise Odd
