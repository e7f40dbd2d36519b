# 99 a signal handler that raises wherever it is, again and again, also after make_gif has returned
# verdict: error output_missing crashed wall_limit cpu_limit
"""Raises from a timer, so that the exception comes while the harness is at work."""

import signal


def burst(*args):
    raise KeyboardInterrupt("from the timer")


def make_gif(path):
    signal.signal(signal.SIGVTALRM, burst)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0001, 0.0001)
    except OSError:
        signal.signal(signal.SIGTERM, burst)
        signal.raise_signal(signal.SIGTERM)
