# 71b everything that may be imported, this package too
# verdict: error memory_limit cpu_limit
# limits: roomy
# says(full no-read-confinement weak): no secret
"""Imports this package's other modules and looks for what they know."""

import importlib
import pkgutil

import localgif


def make_gif(path):
    found = []
    for module in pkgutil.walk_packages(localgif.__path__, "localgif."):
        if "__main__" in module.name:
            continue
        try:
            found.append(importlib.import_module(module.name))
        except BaseException:
            pass
    raise ValueError("no secret" if "@TOKEN@"[1:] not in str([vars(one) for one in found]) else "a secret")
