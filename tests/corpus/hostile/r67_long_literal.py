# 67 a literal of 90,000 elements: memory of the compiler
# verdict: output_missing memory_limit
"""Compiles for a while."""

numbers = [@REPEAT 90000 1,@]


def make_gif(path):
    assert len(numbers) == 90_000
