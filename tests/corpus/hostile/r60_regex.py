# 60 regex backtracking
# verdict: cpu_limit
"""A regular expression that backtracks for ever."""

import re


def make_gif(path):
    re.match(r"(a+)+$", "a" * 60 + "b")
