"""CPU time of a call, for tests that no input makes it slow, with a generous bound that only a wrong growth exceeds."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds(call: Callable[[], object]) -> float:
    """The CPU time of one call, in seconds; other work on the machine does not count."""
    began = time.thread_time()
    call()
    return time.thread_time() - began
