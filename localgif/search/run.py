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
from localgif.endpoint.clients import Animator
from localgif.errors import EndpointError, LocalGifError, PreflightError
from localgif.gif.score import VERSIONS
from localgif.records import PromptResult, RunRecord, Sample, Verdict
from localgif.runs.store import RunStore, content_hash, now
from localgif.sandbox import probe
from localgif.sandbox.runner import run_program
from localgif.search.evaluate import Evaluator
from localgif.search.optimize import search
from localgif.search.progress import Progress
from localgif.search.reflect import PlainReflector
from localgif.search.roles import Roles, open_roles
from localgif.search.verdict import compare, smallest_p_value
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
        )
        with RunStore.create(runs_dir, record) as store:
            try:
                result = _search_and_compare(settings, roles, store, progress, clock)
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
    settings: Settings, roles: Roles, store: RunStore, progress: Progress, clock: float
) -> dict[str, Any]:
    task = load_task(settings.task)
    with Animator(settings.animator, roles.animator_url) as animator:
        evaluator = Evaluator(task, settings, animator.write, store, progress)
        reflector = PlainReflector(
            settings.reflector, roles.reflector_url, settings.seed, lambda: evaluator.last_prompt, store, progress
        )
        progress.started(store.record.name, _about(settings, roles), settings.metric_calls, settings.fresh)
        best, ended = search(SEED_PROMPT, evaluator, reflector, settings, store.folder / "gepa" / "log.txt")
        store.write_best_prompt(best)
        seed_fresh = evaluator.fresh(SEED_PROMPT, "seed prompt")
        best_fresh = seed_fresh if best == SEED_PROMPT else evaluator.fresh(best, "evolved prompt")
    seed_result, best_result = prompt_result(SEED_PROMPT, seed_fresh), prompt_result(best, best_fresh)
    comparison = compare(seed_result.scores, best_result.scores)
    samples, proposals = evaluator.samples, reflector.proposals
    attempts = [a for s in samples for a in s.attempts]
    total = time.monotonic() - clock
    return {
        "run": store.record.name,
        "folder": str(store.folder),
        "status": "done",
        "task": task.name,
        "scorer": settings.scorer,
        "reflection": settings.reflection,
        "seed": _summary(seed_result),
        "best": {**_summary(best_result), "is_seed": best == SEED_PROMPT},
        "verdict": {
            "word": comparison.word,
            "difference": round(comparison.difference, 4),
            "p_value": round(comparison.p_value, 4),
            "smallest_possible_p_value": round(smallest_p_value(settings.fresh), 4),
        },
        "ended_by": ended,
        "metric_calls": evaluator.spent,
        "llm_calls": len(attempts) + len(proposals),
        "proposals": len(proposals),
        "output_tokens": {
            "animator": sum(a.output_tokens for a in attempts),
            "reflector": sum(p.output_tokens for p in proposals),
        },
        "seconds": {
            "total": round(total, 1),
            "weights": round(roles.seconds_weights, 1),
            "load": round(roles.seconds_load, 1),
            "llm": round(sum(a.llm_seconds for a in attempts) + sum(p.llm_seconds for p in proposals), 1),
            "sandbox": round(sum(a.sandbox_seconds for a in attempts), 1),
        },
        "memory": {
            "localgif": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "endpoint": roles.embedded.peak_memory() if roles.embedded is not None else None,
        },
        "animator": _identity(roles, "animator"),
        "reflector": _identity(roles, "reflector"),
        "sandbox": store.record.sandbox,
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
        frames=tuple(m.frames if m else None for m in measured),
        loop_ratios=tuple(round(m.gap / m.motion, 3) if m and m.motion > 0 else None for m in measured),
        verdicts=tuple(s.verdict for s in samples),
    )


def _summary(result: PromptResult) -> dict[str, Any]:
    return {
        **result.model_dump(mode="json", exclude={"prompt", "candidate"}),
        "prompt": result.prompt,
        "candidate": result.candidate,
    }
