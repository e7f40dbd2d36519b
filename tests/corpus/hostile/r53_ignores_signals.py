# 53 ignores all signals and loops
# verdict: cpu_limit
"""Ignores every signal that can be ignored, and computes."""

import signal


def make_gif(path):
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        pass
