# 98 timers of its own: the one that rings late must not outlive it or end somebody else
# verdict: crashed output_missing error
"""Sets every timer that it has and ends in the alarm."""

import signal


def make_gif(path):
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    signal.pause()
