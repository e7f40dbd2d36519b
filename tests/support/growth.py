"""How long something takes, for tests that no input makes it slow: a generous bound that only a wrong growth passes."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds(call: Callable[[], object]) -> float:
    """CPU time of one call: other work on the machine does not count."""
    began = time.thread_time()
    call()
    return time.thread_time() - began
