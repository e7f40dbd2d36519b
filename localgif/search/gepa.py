"""The search: GEPA's optimize_anything in its three modes. With reflect.py the only place that knows gepa.

gepa 0.1.4, the parts that matter here: a run_dir would make it write pickles and replace sys.stdout, so it gets none;
exceptions of the evaluator end the run (raise_on_exception); exceptions of the reflector are swallowed (see
reflect.Escape); its own metric-call stopper overruns, so the evaluator keeps the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from localgif.records import SearchEnd
from localgif.search.candidate import Candidate, prompt_of, seed_of
from localgif.search.controls import Escape, PlainReflector
from localgif.search.evaluator import Evaluator, SideInfo, beats, mean_by_task
from localgif.search.grounded import GroundedReflector
from localgif.settings import Settings
from localgif.store.write import RunStore
from localgif.tasks.task import Task

#: Reflections in a row that lead to no new measurement before the search gives up.
MAX_IDLE_REFLECTIONS = 5
#: Tasks that a reflection looks at, where a run has several.
MINIBATCH = 2
#: How often the strengths of two candidates are put together, at most.
MERGES = 5
#: So many candidates at most are tested again, those whose search mean is this close to the best one's.
FINALISTS, CLOSE = 3, 0.05


class _Log:
    """GEPA's own log lines, kept for whoever wants to know what it did; written anew by a run that goes on."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        self._path = path

    def log(self, message: str) -> None:
        with self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{message}\n")


class _Stop:
    """Ends the search: target held, budget spent, time over, or the reflector gives nothing new any more."""

    def __init__(self, evaluator: Evaluator, settings: Settings, store: RunStore) -> None:
        self.reason = ""
        self._evaluator = evaluator
        self._settings = settings
        self._store = store
        self._asked = 0
        self._last_spent = 0
        self._idle = 0

    def __call__(self, gepa_state: Any) -> bool:
        self._asked += 1
        end = self._store.record.search_end
        reason = self._reason(timed=end is None and not self._store.journal.left)
        if end is not None:
            self.reason = end.reason if self._asked >= end.asked else ""
        elif reason:
            self.reason = reason
            self._store.update(search_end=SearchEnd(reason=reason, asked=self._asked))
        return bool(self.reason)

    def _reason(self, *, timed: bool) -> str:
        """Why to stop now, "" to go on; `timed` says whether the clock counts, as it doesn't in what is repeated."""
        spent = self._evaluator.spent
        self._idle = 0 if spent > self._last_spent else self._idle + 1
        self._last_spent = spent
        minutes = self._settings.minutes
        if self._holds_target():
            return "target"
        if self._evaluator.remaining <= 0:
            return "budget"
        if timed and minutes is not None and self._store.elapsed() >= 60 * minutes:
            return "minutes"
        return "idle" if self._idle > MAX_IDLE_REFLECTIONS else ""

    def _holds_target(self) -> bool:
        """Whether the best candidate reaches the target, and again on samples that the search never saw."""
        target = self._settings.target
        if target is None:
            return False
        ranked = self._evaluator.ranking()
        if not ranked or self._evaluator.mean_of(ranked[0]) < target:
            return False
        best = ranked[0]
        again = self._evaluator.retest(best, self._settings.samples)
        return mean_by_task(again) >= target


class _Paired:
    """GEPA's acceptance criterion: a child must beat its parent on the tasks and sample indices that both have."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def should_accept(self, proposal: Any, state: Any) -> bool:
        parent = state.program_candidates[proposal.parent_program_ids[0]]
        return beats(self._by_index(proposal.candidate), self._by_index(parent))

    def reject_reason(self, proposal: Any, state: Any) -> str:
        """For GEPA's log."""
        return "not better than its parent on the samples that both have"

    def _by_index(self, candidate: Candidate) -> dict[tuple[str, int], float]:
        prompt = prompt_of(candidate, self._evaluator.suite)
        return {(s.task, s.index): s.score.total for s in self._evaluator.samples_of(prompt)}


def search_plain(
    seed_prompt: str, evaluator: Evaluator, reflector: PlainReflector, settings: Settings, store: RunStore
) -> tuple[str, str]:
    """Evolve the seed prompt with GEPA's stock reflection; the candidate is a bare text.

    Returns:
        The best candidate by GEPA's own choice, and why the search ended: "target", "budget", "minutes" or "idle".

    Raises:
        EndpointError: animator or reflector could not be reached any more.
        SandboxError: our sandbox failed.
    """
    from gepa.optimize_anything import ReflectionConfig

    def measure(candidate: str, task: Task) -> tuple[float, SideInfo]:
        return evaluator.metric_call(candidate, task)

    best, ended = _run(
        seed_prompt,
        measure,
        evaluator,
        settings,
        store,
        objective=evaluator.suite.objective,
        reflection=ReflectionConfig(reflection_lm=reflector),
    )
    assert isinstance(best, str)  # the seed candidate is a bare string, so GEPA gives one back
    return best, ended


def search_grounded(
    evaluator: Evaluator, reflector: GroundedReflector, settings: Settings, store: RunStore
) -> tuple[str, str]:
    """Evolve rules and worked example below the contract; see grounded.py.

    Returns:
        The prompt that won the re-test of the best candidates, and why the search ended: "target", "budget",
        "minutes" or "idle".

    Raises:
        EndpointError: animator or reflector could not be reached any more.
        SandboxError: our sandbox failed.
    """
    from gepa.optimize_anything import ReflectionConfig

    suite = evaluator.suite

    def measure(candidate: Candidate, task: Task) -> tuple[float, SideInfo]:
        return evaluator.metric_call(prompt_of(candidate, suite), task, reflector.parent_prompt)

    _, ended = _run(
        seed_of(suite),
        measure,
        evaluator,
        settings,
        store,
        # The moves have requests of their own, so GEPA's stock request is never rendered.
        reflection=ReflectionConfig(
            reflection_lm=None,
            reflection_prompt_template=None,
            reflection_strategy=reflector,
            module_selector="all",
        ),
        acceptance=_Paired(evaluator),
    )
    # Who held the target has been tested again already.
    return (evaluator.ranking()[0] if ended == "target" else _winner(evaluator, settings)), ended


def _winner(evaluator: Evaluator, settings: Settings) -> str:
    """Test the best candidates again on samples that the search never saw: luck in the search is not repeated there."""
    ranked = evaluator.ranking()
    close = [p for p in ranked[:FINALISTS] if evaluator.mean_of(p) >= evaluator.mean_of(ranked[0]) - CLOSE]
    if len(close) == 1:
        return close[0]
    means = {}
    for prompt in close:
        means[prompt] = mean_by_task(evaluator.retest(prompt, settings.samples))
    return max(close, key=lambda prompt: means[prompt])  # of equal ones the better ranked


def _run(
    seed: str | Candidate,
    measure: Callable[[Any, Task], tuple[float, SideInfo]],
    evaluator: Evaluator,
    settings: Settings,
    store: RunStore,
    *,
    reflection: Any,
    objective: str | None = None,
    acceptance: Any = "strict_improvement",
) -> tuple[Any, str]:
    from gepa.optimize_anything import EngineConfig, GEPAConfig, MergeConfig, TrackingConfig, optimize_anything

    suite = evaluator.suite
    stop = _Stop(evaluator, settings, store)
    several: dict[str, Any] = {}
    merge = None
    if suite.mode != "single":
        reflection.reflection_minibatch_size = min(MINIBATCH, len(suite.train))
        several["dataset"] = [task.name for task in suite.train]
        if suite.mode == "general":
            several["valset"] = [task.name for task in suite.val]
        if not isinstance(seed, str):  # a bare text has no parts that could be put together
            merge = MergeConfig(max_merge_invocations=MERGES, merge_val_overlap_floor=min(5, len(suite.val)))
    config = GEPAConfig(
        engine=EngineConfig(
            seed=settings.seed,
            parallel=False,
            max_workers=1,
            use_cloudpickle=False,
            raise_on_exception=True,
            acceptance_criterion=acceptance,
        ),
        reflection=reflection,
        merge=merge,
        tracking=TrackingConfig(logger=_Log(store.folder / "gepa" / "log.txt")),
        stop_callbacks=[stop],
    )

    # GEPA looks at the names of the parameters: without a dataset there must be no example.
    def evaluate_one(candidate: Any) -> tuple[float, SideInfo]:
        return measure(candidate, suite.train[0])

    def evaluate_any(candidate: Any, example: str) -> tuple[float, SideInfo]:
        return measure(candidate, suite.task(example))

    evaluate = evaluate_any if several else evaluate_one
    try:
        result = optimize_anything(
            seed_candidate=seed, evaluator=evaluate, objective=objective, config=config, **several
        )
    except Escape as escape:
        raise escape.error from escape
    return result.best_candidate, stop.reason
