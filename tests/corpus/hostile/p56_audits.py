# 100 an audit hook cannot be removed: it raises at whatever the harness does next
# verdict: error output_missing crashed
"""Objects to everything that happens after it."""

import sys


def object(event, args):
    raise RuntimeError(f"no {event}")


def make_gif(path):
    sys.addaudithook(object)
    raise ValueError("the harness must not fall over")
