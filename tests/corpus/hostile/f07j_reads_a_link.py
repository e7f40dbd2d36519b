# 7j what no layer hides: where a symbolic link leads
# verdict: error
# says: leads to canary.txt
"""Learns where somebody's link leads: readlink is open at every level."""

import os


def make_gif(path):
    raise ValueError(f"leads to {os.readlink('@HOME@/link')}")
