# 106 walks up the stack into the harness, and through every object alive
# verdict: error
# says: found: []
"""Looks at every variable of every caller, and at every container that the collector knows."""

import gc
import sys


def make_gif(path):
    wanted = " ".join(["secret", "of", "the", "app"])
    found = []
    frame = sys._getframe().f_back
    while frame:
        for name, value in frame.f_locals.items():
            if wanted in repr(value):
                found.append(f"{frame.f_code.co_name}.{name}")
        frame = frame.f_back
    for one in gc.get_objects():
        members = one.values() if type(one) is dict else one if type(one) in (list, tuple, set) else ()
        found += [type(one).__name__ for member in list(members) if type(member) is str and wanted in member[:10_000]]
    found = [name for name in found if name != "list"]  # our own
    raise ValueError(f"found: {found}")
