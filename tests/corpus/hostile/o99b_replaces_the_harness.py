# 110 replaces the functions of the harness where they live
# verdict: error ok output_missing crashed wall_limit cpu_limit
# limits: brief
"""Rewrites the harness: whatever it then claims is still only a claim."""

import sys


def make_gif(path):
    for name, module in list(sys.modules.items()):
        if name.startswith("localgif"):
            for key, value in list(vars(module).items()):
                if callable(value):
                    setattr(module, key, lambda *a, **k: 0)
    frame = sys._getframe().f_back
    while frame:
        frame.f_locals.update(status=0, code=0)
        frame = frame.f_back
    raise SystemExit(0)
