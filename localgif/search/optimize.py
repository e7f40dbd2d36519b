"""The search: GEPA's optimize_anything in single-task mode. With reflect.py the only place that knows gepa.

gepa 0.1.4, the parts that matter here: a run_dir would make it write pickles and replace sys.stdout, so it gets none;
exceptions of the evaluator end the run (raise_on_exception); exceptions of the reflector are swallowed (see
reflect.ReflectorDown); its own metric-call stopper overruns, so the evaluator keeps the budget.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from localgif.config import Settings
from localgif.search.evaluate import Evaluator, SideInfo
from localgif.search.reflect import PlainReflector, ReflectorDown

#: Reflections in a row that lead to no new measurement before the search gives up.
MAX_IDLE_REFLECTIONS = 5


class _Log:
    """GEPA's own log lines, kept for whoever wants to know what it did."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self._path = path

    def log(self, message: str) -> None:
        with self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{message}\n")


class _Stop:
    """Ends the search: budget spent, time over, or the reflector gives nothing new any more."""

    def __init__(self, evaluator: Evaluator, minutes: float | None) -> None:
        self.reason = ""
        self._evaluator = evaluator
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._last_spent = 0
        self._idle = 0

    def __call__(self, gepa_state: Any) -> bool:
        spent = self._evaluator.spent
        self._idle = 0 if spent > self._last_spent else self._idle + 1
        self._last_spent = spent
        if self._evaluator.remaining <= 0:
            self.reason = "budget"
        elif self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "minutes"
        elif self._idle > MAX_IDLE_REFLECTIONS:
            self.reason = "idle"
        return bool(self.reason)


def search(
    seed_prompt: str, evaluator: Evaluator, reflector: PlainReflector, settings: Settings, log: Path
) -> tuple[str, str]:
    """Evolve the seed prompt.

    Returns:
        The best candidate by GEPA's own choice, and why the search ended: "budget", "minutes" or "idle".

    Raises:
        EndpointError: animator or reflector could not be reached any more.
        SandboxError: our sandbox failed.
    """
    from gepa.optimize_anything import (
        EngineConfig,
        GEPAConfig,
        ReflectionConfig,
        TrackingConfig,
        optimize_anything,
    )

    def evaluate(candidate: str) -> tuple[float, SideInfo]:
        return evaluator.metric_call(candidate)

    stop = _Stop(evaluator, settings.minutes)
    config = GEPAConfig(
        engine=EngineConfig(
            seed=settings.seed, parallel=False, max_workers=1, use_cloudpickle=False, raise_on_exception=True
        ),
        reflection=ReflectionConfig(reflection_lm=reflector),
        tracking=TrackingConfig(logger=_Log(log)),
        stop_callbacks=[stop],
    )
    try:
        result = optimize_anything(
            seed_candidate=seed_prompt, evaluator=evaluate, objective=evaluator.task.objective, config=config
        )
    except ReflectorDown as down:
        raise down.error from down
    best = result.best_candidate
    assert isinstance(best, str)  # the seed candidate is a bare string, so GEPA gives one back
    return best, stop.reason
