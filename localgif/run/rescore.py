"""Scores GIFs without a model: any GIF, or a run's stored GIFs by another rule, version or task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localgif.errors import ConfigError, RunCorrupt
from localgif.files import is_file
from localgif.gif import MEASURE, score
from localgif.records import Limits, Measurements, Record, Score
from localgif.sandbox import probe
from localgif.sandbox.runner import measure_gif
from localgif.settings import known
from localgif.store.read import RunRecord, StoredRun, load_record, load_run, write_beside
from localgif.tasks.sentence import find
from localgif.tasks.task import Task, load_task, task_names

#: Higher than the limits of a run: other GIFs may be larger and slower to read than the GIF of a small program.
GIF_LIMITS = Limits(file_size=32 * 2**20, cpu_seconds=20, wall_seconds=60)


class ScoredGif(Record):
    """A GIF's score and the numbers behind it."""

    score: Score
    """0 to 1 (higher is better); 0, with the reason in its parts, if the GIF cannot be measured."""
    measurements: Measurements | None
    """None if the GIF cannot be measured."""


def score_gif(
    data: bytes, task: Task | str = "bouncing-ball", scorer: str = "strict", sandbox_level: str = "no-read-confinement"
) -> ScoredGif:
    """Measure a GIF of at most 32 MiB in a confined process and score it.

    Args:
        task: What it should show: a task, the name of a shipped one, the path of a TOML file, or a sentence.
        scorer: "strict" or "article", or an earlier version such as "strict-3".
        sandbox_level: The weakest sandbox level to accept.

    Raises:
        ConfigError: The task, the scorer or the level does not exist.
        SandboxTooWeak, SandboxError: This machine does not reach that level, or the sandbox failed.
    """
    wanted = find(task).task if isinstance(task, str) else task
    score.version_of(scorer)
    probe.decide(known("sandbox_level", sandbox_level))
    measured = measure_gif(data, MEASURE, GIF_LIMITS)
    if isinstance(measured, str):
        return ScoredGif(score=score.no_gif(scorer, measured), measurements=None)
    return ScoredGif(score=score.of(scorer, measured, wanted), measurements=measured)


def task_of(file: Path) -> Task | None:
    """The task that a GIF in a run folder was drawn for. None outside of runs, and for a file that is not a sample in a
    run with several tasks. Raises RunCorrupt if the run cannot be read."""
    folder = next((each for each in file.resolve().parents[:2] if is_file(each / "run.json")), None)
    if folder is None:
        return None
    record = load_record(folder)
    tasks = _own_tasks(record, newest=True)
    alone = next(iter(tasks.values())) if len(tasks) == 1 + len(record.neighbours) else None
    if len(tasks) == 1:
        return alone
    return next((tasks[sample.task] for sample in load_run(folder).samples if sample.gif == file.stem), alone)


class Rescored(Record):
    """One line of scores-<scorer>.jsonl."""

    candidate: str
    task: str
    index: int
    purpose: str
    gif: str | None
    score: Score


def rescore(folder: Path, scorer: str, task: Task | None) -> dict[str, Any]:
    """Measure and score all stored GIFs again, and write scores-<name and version>.jsonl into the run folder.

    Args:
        scorer: A rule: its name, or name and version.
        task: What the GIFs should show; None for the run's own tasks.

    Returns:
        The object that `--json` prints: for each prompt and purpose the stored mean and the new one.

    Raises:
        RunCorrupt: run.json, a line or a GIF cannot be read or was changed.
        RunError: The folder cannot be written.
        ConfigError: The run has no samples, or the rule does not exist.
        SandboxError: The sandbox failed.
    """
    version = score.version_of(scorer)
    run = load_run(folder)
    if not run.samples:
        raise ConfigError(f"the run {run.record.name} has no samples", "name another run: localgif runs")
    own = {} if task is not None else _own_tasks(run.record, newest=version in score.VERSIONS.values())
    measured: dict[str, Measurements | None] = {}
    lines = []
    for sample in run.samples:
        if sample.gif is not None and sample.gif not in measured:
            measured[sample.gif] = _measured(run, sample.gif)
        numbers = measured[sample.gif] if sample.gif is not None else None
        wanted = task if task is not None else own[sample.task]
        lines.append(
            Rescored(
                candidate=sample.candidate,
                task=wanted.name,
                index=sample.index,
                purpose=sample.purpose,
                gif=sample.gif,
                score=score.of(version, numbers, wanted),
            )
        )
    file = folder / f"scores-{version}.jsonl"
    write_beside(folder, file.name, b"".join(line.model_dump_json().encode() + b"\n" for line in lines))
    return {
        "run": run.record.name,
        "task": task.name if task is not None else run.record.settings.task,
        "old_scorer": run.record.scorer,
        "scorer": version,
        "rows": _rows(run, lines),
        "file": str(file),
    }


def _own_tasks(record: RunRecord, *, newest: bool) -> dict[str, Task]:
    """Name -> task of the run, neighbours last; old runs stored only the name.

    Args:
        newest: Use today's version of a shipped task if its brief is unchanged: the newest rules read more of its keys.
    """
    if not record.drawn and record.settings.task not in task_names():  # a stored path may belong to another machine
        raise RunCorrupt(f"run.json of {record.name} does not contain its task", "name it: --task")
    tasks = (*(record.drawn or (load_task(record.settings.task),)), *record.neighbours)
    shipped = {name: load_task(name) for name in task_names()} if newest else {}
    return {
        task.name: shipped[task.name] if task.name in shipped and shipped[task.name].brief == task.brief else task
        for task in tasks
    }


def _measured(run: StoredRun, gif: str) -> Measurements | None:
    found = measure_gif(run.data("gifs", gif), MEASURE, Limits())
    if isinstance(found, str):  # it could be measured during the run
        raise RunCorrupt(f"{run.folder}/gifs/{gif}.gif can no longer be measured: {found}")
    return found


def _rows(run: StoredRun, lines: list[Rescored]) -> list[dict[str, Any]]:
    """One row per candidate and purpose, in order of appearance."""
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for sample, line in zip(run.samples, lines, strict=True):
        groups.setdefault((sample.candidate, sample.purpose), []).append((sample.score.total, line.score.total))
    result = run.record.result
    labels = {result.best.candidate: "evolved", result.seed.candidate: "seed"} if result is not None else {}
    return [
        {
            "candidate": candidate,
            "label": labels.get(candidate, ""),
            "purpose": purpose,
            "samples": len(pairs),
            "old_mean": round(sum(old for old, _ in pairs) / len(pairs), 4),
            "mean": round(sum(new for _, new in pairs) / len(pairs), 4),
        }
        for (candidate, purpose), pairs in groups.items()
    ]
