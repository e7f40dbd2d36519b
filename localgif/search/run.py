"""One run from preflight to verdict: the steps of `localgif optimize` in their order."""

from __future__ import annotations

import math
import platform
import resource
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from localgif import __version__
from localgif.agent.prompts import SEED_PROMPT
from localgif.config import Settings
from localgif.endpoint.clients import Animator, Reflector
from localgif.errors import EndpointError, LocalGifError, PreflightError
from localgif.gif.score import VERSIONS
from localgif.records import Attempt, PromptResult, Proposal, RunRecord, Sample, Verdict
from localgif.runs.store import RunStore, content_hash, now
from localgif.sandbox import probe
from localgif.sandbox.runner import run_program
from localgif.search.candidate import SEED, prompt_of
from localgif.search.evaluate import Evaluator
from localgif.search.grounded import GroundedReflector
from localgif.search.optimize import search_grounded, search_plain
from localgif.search.programs import Programs
from localgif.search.progress import Progress
from localgif.search.reflect import PlainReflector
from localgif.search.roles import Roles, open_roles
from localgif.search.verdict import Pairs, compare
from localgif.task import Task
from localgif.tasks.load import load_task

#: Packages whose version can change what a run gives.
RECORDED_PACKAGES = ("gepa", "langgraph", "langchain-ollama", "litellm", "pillow", "numpy", "xllamacpp")


def default_name(task: str) -> str:
    """Name of a run whose user gave none: local date and time, then the task."""
    return f"{datetime.now(UTC).astimezone():%Y-%m-%d-%H%M%S}-{task}"


def optimize(settings: Settings, runs_dir: Path, name: str | None, progress: Progress) -> dict[str, Any]:
    """The main job.

    Returns:
        The object that `--json` prints (see docs/json.md).

    Raises:
        LocalGifError: with its exit code; what was measured by then is in the run folder.
        KeyboardInterrupt: likewise, the run is marked "interrupted".
    """
    clock = time.monotonic()
    task = load_task(settings.task)
    _check_sandbox(settings)
    with open_roles(settings, progress) as roles:
        record = RunRecord(
            name=name or default_name(task.name),
            status="started",
            started=now(),
            settings=settings.model_dump(mode="json"),
            models=roles.identities,
            versions=_versions(),
            sandbox=probe.describe(settings.limits),
            scorer=VERSIONS[settings.scorer],
            task=task.model_dump(mode="json"),
        )
        with RunStore.create(runs_dir, record) as store:
            try:
                result = _search_and_compare(settings, task, roles, store, progress, clock)
            except KeyboardInterrupt:
                store.finish("interrupted", error="stopped by Ctrl-C")
                raise
            except LocalGifError as error:
                reason = roles.explain()
                if reason and isinstance(error, EndpointError):
                    error = EndpointError(f"{error.message}\n{reason}", error.remedy)
                store.finish("failed", error=error.message)
                raise error from None
            except BaseException as error:
                store.finish("failed", error=f"{type(error).__name__}: {error}")
                raise
            store.finish("done", result=result)
            return result


def _check_sandbox(settings: Settings) -> None:
    """The sandbox holds, runs a program and reads its output: a file that is no GIF must be told from one."""
    probe.decide(settings.sandbox_level)
    tried = run_program("def make_gif(path):\n    open(path, 'wb').write(b'no GIF')\n", settings.limits)
    if tried.verdict is not Verdict.OUTPUT_BAD:
        raise PreflightError(
            f'the sandbox does not work here: a harmless program ended as "{tried.verdict}" ({tried.reason})',
            "Is the machine out of memory or processes? (free -m, ulimit -a)",
        )


def _search_and_compare(
    settings: Settings, task: Task, roles: Roles, store: RunStore, progress: Progress, clock: float
) -> dict[str, Any]:
    programs = Programs(settings)
    progress.started(
        store.record.name, _about(settings, roles), settings.metric_calls * settings.samples, settings.fresh
    )
    with Animator(settings.animator, roles.animator_url) as animator:
        evaluator = Evaluator(
            task, settings, animator.write, programs, store, progress, racing=settings.reflection != "plain"
        )
        log = store.folder / "gepa" / "log.txt"
        reflector: PlainReflector | GroundedReflector
        if settings.reflection == "plain":
            seed = SEED_PROMPT
            reflector = PlainReflector(
                settings.reflector, roles.reflector_url, settings.seed, lambda: evaluator.last_prompt, store, progress
            )
            best, ended = search_plain(seed, evaluator, reflector, settings, log)
        else:
            seed = prompt_of(SEED, task)
            model = Reflector(settings.reflector, roles.reflector_url)
            reflector = GroundedReflector(settings, model, evaluator, programs, store, progress)
            best, ended = search_grounded(evaluator, reflector, settings, log)
        store.write_best_prompt(best)
        seed_fresh = evaluator.fresh(seed, "seed prompt")
        best_fresh = seed_fresh if best == seed else evaluator.fresh(best, "evolved prompt")
    results = prompt_result(seed, seed_fresh), prompt_result(best, best_fresh)
    comparison = compare({task.name: Pairs(results[0].scores, results[1].scores)})
    return {
        "run": store.record.name,
        "folder": str(store.folder),
        "status": "done",
        "task": task.name,
        "scorer": settings.scorer,
        "reflection": settings.reflection,
        "seed": _summary(results[0], evaluator),
        "best": {**_summary(results[1], evaluator), "is_seed": best == seed},
        "verdict": comparison.as_json(),
        "ended_by": ended,
        "metric_calls": evaluator.spent,
        **_costs(evaluator.samples, reflector.proposals),
        "programs_run": programs.run,
        "seconds": {
            "total": round(time.monotonic() - clock, 1),
            "weights": round(roles.seconds_weights, 1),
            "load": round(roles.seconds_load, 1),
            **_seconds(evaluator.samples, reflector.proposals),
            "sandbox": round(programs.seconds, 1),
        },
        "memory": {
            "localgif": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "endpoint": roles.embedded.peak_memory() if roles.embedded is not None else None,
        },
        "animator": _identity(roles, "animator"),
        "reflector": _identity(roles, "reflector"),
        "sandbox": store.record.sandbox,
    }


def _attempts(samples: Sequence[Sample]) -> list[Attempt]:
    return [attempt for sample in samples for attempt in sample.attempts]


def _costs(samples: Sequence[Sample], proposals: Sequence[Proposal]) -> dict[str, Any]:
    """Calls and tokens by role; a search over a program's numbers is no call."""
    asked = [proposal for proposal in proposals if proposal.move != "tune"]
    by_move: dict[str, int] = {}
    for proposal in asked:
        by_move[proposal.move] = by_move.get(proposal.move, 0) + proposal.output_tokens
    attempts = _attempts(samples)
    return {
        "llm_calls": len(attempts) + len(asked),
        "proposals": len(asked),
        "output_tokens": {
            "animator": sum(a.output_tokens for a in attempts),
            "reflector": sum(p.output_tokens for p in asked),
        },
        "reflector_tokens_by_move": by_move,
    }


def _seconds(samples: Sequence[Sample], proposals: Sequence[Proposal]) -> dict[str, float]:
    animator = sum(a.llm_seconds for a in _attempts(samples))
    reflector = sum(p.llm_seconds for p in proposals)
    return {
        "llm": round(animator + reflector, 1),
        "animator": round(animator, 1),
        "reflector": round(reflector, 1),
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "localgif": __version__, "platform": platform.platform()}
    for package in RECORDED_PACKAGES:
        versions[package] = metadata.version(package)
    return versions


def _about(settings: Settings, roles: Roles) -> tuple[str, ...]:
    """What the run runs on, one line a fact."""
    lines = []
    for identity in roles.identities:
        digest = f", sha256 {identity.digest[:12]}" if identity.digest else ""
        lines.append(
            f"{identity.role:<10}{identity.model} on {identity.endpoint} ({identity.server}){digest}, "
            f"window {identity.num_ctx}, temperature {identity.temperature:g}"
        )
    sandbox = probe.describe(settings.limits)
    lines.append(f"{'sandbox':<10}level {sandbox['level']}: {sandbox['notes'][0]}")
    facts = "" if settings.facts or not settings.moves else ", no background facts"
    early = f", ends early when a re-test holds {settings.target:g}" if settings.target is not None else ""
    lines.append(f"{'search':<10}{settings.reflection} reflection{facts}{early}")
    budget = (
        f"{settings.metric_calls} metric calls x {settings.samples} samples, then {settings.fresh} fresh samples each"
    )
    lines.append(
        f"{'budget':<10}{budget}" + (f", at most {settings.minutes:g} min of search" if settings.minutes else "")
    )
    return tuple(lines)


def _identity(roles: Roles, role: str) -> dict[str, Any]:
    return next(i.model_dump(mode="json") for i in roles.identities if i.role == role)


def prompt_result(prompt: str, samples: Sequence[Sample]) -> PromptResult:
    """A prompt's fresh samples as one record."""
    scores = tuple(s.score.total for s in samples)
    measured = [s.measurements for s in samples]
    return PromptResult(
        candidate=content_hash(prompt),
        prompt=prompt,
        scores=scores,
        mean=round(math.fsum(scores) / len(scores), 4),
        also=_also(samples),
        frames=tuple(m.frames if m else None for m in measured),
        loop_ratios=tuple(round(m.gap / m.motion, 3) if m and m.motion > 0 else None for m in measured),
        verdicts=tuple(s.verdict for s in samples),
    )


def _also(samples: Sequence[Sample]) -> dict[str, tuple[float, ...]]:
    """The other rules' scores; a sample without a GIF has 0 by every rule."""
    rules = sorted({score.scorer for sample in samples for score in sample.also})
    return {
        rule: tuple(next((s.total for s in sample.also if s.scorer == rule), 0.0) for sample in samples)
        for rule in rules
    }


def _summary(result: PromptResult, evaluator: Evaluator) -> dict[str, Any]:
    """A prompt's fresh samples, and what the search and the re-test had said of it."""
    mine = [s for s in evaluator.samples if s.candidate == result.candidate]
    return {
        "search_scores": [s.score.total for s in mine if s.purpose == "search"],
        "retest_scores": [s.score.total for s in mine if s.purpose == "retest"],
        **result.model_dump(mode="json", exclude={"prompt", "candidate"}),
        "prompt": result.prompt,
        "candidate": result.candidate,
    }
