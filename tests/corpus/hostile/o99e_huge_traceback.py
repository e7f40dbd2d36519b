# 113 an exception chain without end
# verdict: error
# says: ValueError: last
"""Exceptions that name each other as their cause, 10,000 of them in a ring."""


def make_gif(path):
    errors = [ValueError(str(number)) for number in range(10_000)]
    for one, other in zip(errors, errors[1:] + errors[:1], strict=True):
        one.__cause__ = one.__context__ = other
    raise ValueError("last") from errors[0]
