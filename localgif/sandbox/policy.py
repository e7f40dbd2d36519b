"""The limits of a program that nobody set others for, and what each level promises."""

from __future__ import annotations

from localgif.records import Limits
from localgif.sandbox.layers import FULL, LIMITS_ONLY, NO_READ_CONFINEMENT, WEAK

#: Used wherever the caller names no limits.
DEFAULT_LIMITS = Limits()

#: In one line, for the start of a run.
PROMISES = {
    FULL: "programs see only Python's libraries and fonts, change only their own directory, no network, no processes",
    NO_READ_CONFINEMENT: "programs change nothing, no network, no processes; they can READ whatever this user can",
    WEAK: "programs cannot touch your files, but CHANGE MODES AND TIMES of them, use the network and signal processes",
    LIMITS_ONLY: "programs can read, change and delete whatever this user can, and use the network",
}
