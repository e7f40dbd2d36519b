"""The process that carries out cells for a worker of a cluster: `python -m localgif.sweep.child`.

A process of its own, because a run sets variables that other libraries read, guards what it reaches, and can be stopped
by SIGINT alone; and because a worker may have several. It lives from cell to cell: what a run imports takes seconds.

    stdin    one JSON object a line: {"meet": ...} or {"cell": ...}; the word "stop" interrupts what is being done;
             its end ends the process, so that nothing goes on when the worker is gone
    stdout   one JSON array a line: ["activity", ...] and ["metric_call", ...] as a run tells them, then ["end", ...]
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from localgif import offline
from localgif.errors import LocalGifError
from localgif.models.toml import moved, read_models
from localgif.offline import pin_libraries
from localgif.run.roles import check_role
from localgif.sandbox import keeper_client
from localgif.search.progress import Silent, Standing
from localgif.settings import ModelSettings, Settings
from localgif.sweep.carry import carry_out
from localgif.sweep.worker import identity
from localgif.tasks.suite import suite_of

#: Between the end of stdin and the hard end of a run that does not let itself be interrupted.
LAST_SECONDS = 10.0

Say = Callable[[list[Any]], None]


class _Telling(Silent):
    """What a run tells, as lines on stdout."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def activity(self, text: str) -> None:
        self._say(["activity", text])

    def metric_call(self, number: int, mean: float, what: str, task: str, standing: Standing | None) -> None:
        self._say(["metric_call", number, mean, what, task, standing])


def main() -> None:
    """Answer orders until stdin ends."""
    pin_libraries()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What a library prints must not be taken for an answer.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(line: list[Any]) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    busy, status = threading.Event(), 0
    threading.Thread(target=_listen, args=(orders, busy), daemon=True).start()
    try:
        while (order := orders.get()) is not None:
            busy.set()
            end = _answer(order, say)
            busy.clear()
            say(["end", end])
    except KeyboardInterrupt:
        with contextlib.suppress(BrokenPipeError):
            say(["end", {"error": "stopped", "code": "", "trace": ""}])
    except BrokenPipeError:
        pass  # nobody listens any more
    except Exception:
        status = 1
        traceback.print_exc()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        keeper_client.stop()
        # Libraries keep threads for which the interpreter would wait.
        os._exit(status)


def _listen(orders: queue.Queue[dict[str, Any] | None], busy: threading.Event) -> None:
    for line in sys.stdin.buffer:
        if line.strip() == b"stop":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            orders.put(json.loads(line))
    orders.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(LAST_SECONDS)
    os._exit(1)


def _answer(order: Mapping[str, Any], say: Say) -> dict[str, Any]:
    (kind, asked), *_ = order.items()
    models = read_models(Path(asked["models_path"]), asked["models_text"])
    if models.offline is False:
        offline.release()
    else:
        offline.guard([*models.elsewhere, *asked["at"].values()], fetch=models.offline is None)
    if kind == "meet":
        return {"identity": identity(), "lacks": _lacks(asked)}
    settings = Settings.model_validate(asked["settings"])
    suite = suite_of(settings.mode, asked["tasks"], asked["split"])
    home = Path(asked["home"])
    outcome = carry_out(home, settings, suite, models, _Telling(say), asked["at"])
    # The result is in the run folder, which goes back by another way.
    return {"error": outcome.error, "code": outcome.code, "trace": outcome.trace}


def _lacks(asked: Mapping[str, Any]) -> dict[str, str]:
    """Model that cannot be asked here -> why."""
    found = {}
    for name, stored in asked["models"].items():
        model = ModelSettings.model_validate(stored)
        both = Settings(animator=model, reflector=model)
        try:
            check_role(moved(both, asked["at"]).animator)
        except LocalGifError as error:
            found[name] = error.message
    return found


if __name__ == "__main__":
    main()
