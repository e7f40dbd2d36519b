"""Which tasks a run works on: one, several that share a prompt, or a split into tasks to learn from and to test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

from localgif.records import Record
from localgif.settings import EARLIER_SPLIT, LISTS, Mode, Settings
from localgif.tasks.sentence import find, is_sentence
from localgif.tasks.task import Targets, Task, families, load_task, task_error

Part = Literal["train", "val", "held-out"]

#: Part -> the setting with the user's own list for it.
_LIST: dict[Part, Literal["train", "val", "test"]] = {"train": "train", "val": "val", "held-out": "test"}


class Example(Record):
    """A worked example that an earlier run found."""

    task: Task
    code: str
    """The program, in the form."""


class Suite(NamedTuple):
    """The tasks of a run by their purpose."""

    mode: Mode
    train: tuple[Task, ...]
    """The search reflects on these and finds worked examples for them."""
    val: tuple[Task, ...]
    """A candidate's standing is its mean over these. The same as `train`, except in mode "general"."""
    tested: tuple[Task, ...]
    """The fresh samples at the end draw these. The same as `train`; in mode "general", tasks never seen before."""
    neighbours: tuple[Task, ...] = ()
    """Mode "single": shipped tasks that the search never sees; drawn after the comparison."""
    given: tuple[Example, ...] = ()
    """Examples of an earlier run, which this run may show beside its own."""

    @property
    def targets(self) -> Targets:
        """The targets of every task; one prompt states one set of targets."""
        return self.train[0].targets

    @property
    def showable(self) -> tuple[Task, ...]:
        """The tasks of which a prompt can show examples."""
        return (*self.train, *(example.task for example in self.given))

    @property
    def all(self) -> tuple[Task, ...]:
        """Each task once."""
        return tuple({task.name: task for task in (*self.train, *self.val, *self.tested)}.values())

    @property
    def split(self) -> dict[Part, tuple[str, ...]] | None:
        """Part -> names of its tasks, as stored; None without a split."""
        if self.mode != "general":
            return None
        parts: dict[Part, tuple[Task, ...]] = {"train": self.train, "val": self.val, "held-out": self.tested}
        return {part: tuple(task.name for task in tasks) for part, tasks in parts.items()}

    @property
    def objective(self) -> str:
        """The objective for GEPA's stock reflection."""
        if self.mode == "single":
            return self.train[0].objective
        drawn = "the requested animation, whichever it is"
        if self.mode == "multi":
            drawn += f" ({'; '.join(task.brief for task in self.train)})"
        return self.train[0].objective.replace(self.train[0].brief, drawn)

    def task(self, name: str) -> Task:
        """A task of this run by its name."""
        return next(task for task in (*self.all, *self.showable) if task.name == name)


def suite_of(
    mode: Mode, stored: Sequence[Task | Mapping[str, Any]], split: Mapping[str, Sequence[str]] | None
) -> Suite:
    """The tasks of a run from its record.

    Args:
        mode: The run's mode.
        stored: The tasks.
        split: Part -> names of its tasks; None without a split.

    Raises:
        ValidationError: A stored task is malformed.
        KeyError: The split names a task that is not stored.
    """
    tasks = {task.name: task for task in map(Task.model_validate, stored)}
    if split is None:
        every = tuple(tasks.values())
        return Suite(mode, every, every, every)
    train, val, tested = (tuple(tasks[name] for name in split[part]) for part in _LIST)
    return Suite(mode, train, val, tested)


def task_texts(settings: Settings) -> tuple[str, ...]:
    """The tasks that settings name, each by name, path or sentence; empty for a split that localgif makes."""
    if settings.mode == "general":
        return tuple(text for name in LISTS for text in _texts(getattr(settings, name) or ""))
    return _texts(settings.task, alone=settings.mode == "single")


def chosen_suite(settings: Settings) -> Suite:
    """The tasks that settings choose.

    Raises:
        ConfigError: As for load_suite; the fold does not exist; a task or its brief is in two parts of the split.
    """
    if settings.mode != "general":
        suite = load_suite(settings.mode, settings.task)
        return suite._replace(neighbours=neighbours(suite, settings))
    if settings.split is None:
        raise task_error(
            f"--task {EARLIER_SPLIT}: earlier versions had one split, and its runs can only be resumed or forked",
            "leave --task out, and choose a split with --split",
        )
    if settings.split == "own":
        return _split_suite({part: _texts(getattr(settings, name) or "") for part, name in _LIST.items()})
    return _split_suite(brief_split() if settings.split == "briefs" else family_split(settings.fold or 1))


def neighbours(suite: Suite, settings: Settings) -> tuple[Task, ...]:
    """Two shipped tasks near the task of a run: the first of its family by sha256, and the first of the next family.

    Both have another brief and the same targets, because one prompt states one set of targets. A task of no shipped
    family gets one task of each of the first two families. Empty with several tasks, or with `transfer` off.
    """
    if suite.mode != "single" or not settings.transfer:
        return ()
    own, ordered = suite.train[0], _ordered()
    start = next((k for k, (family, _) in enumerate(ordered) if family == own.family), 0)
    found: list[Task] = []
    for _, names in ordered[start:] + ordered[:start]:
        tasks = map(load_task, names)
        fits = (t for t in tasks if t.name != own.name and t.brief != own.brief and t.targets == own.targets)
        found += islice(fits, 1)
    return tuple(found[:2])


def load_suite(mode: Literal["single", "multi"], text: str) -> Suite:
    """One task, or several that share a prompt.

    Args:
        mode: The run's mode.
        text: One task, or several with commas between them (multi). A task is the name of a shipped one, the path of a
            TOML file, or a sentence.

    Raises:
        ConfigError: A task is invalid, there are too few or too many, two have the same name, or their targets differ.
    """
    names = _texts(text, alone=mode == "single")
    if mode == "single" and len(names) != 1:
        raise task_error(f"--task {text!r} names {len(names)} tasks", "name one, or add --mode multi")
    if mode == "multi" and len(names) < 2:
        raise task_error(f"--task {text!r}: --mode multi needs at least two tasks", "name them with commas: A,B,C")
    tasks = tuple(find(name).task for name in names)
    _check({"--task": tasks})
    return Suite(mode, tasks, tasks, tasks)


# --- the splits of mode "general" -------------------------------------------------------------------------------------
# The names of the shipped tasks determine them, so that nobody chooses the held-out tasks.


def folds() -> tuple[str, ...]:
    """The families in the order of their folds: fold 1 holds out the first."""
    return tuple(sorted(families()))


def brief_split() -> dict[Part, tuple[str, ...]]:
    """Split every family that has several tasks.

    In each family the first task by sha256 is for the test and the second for training. The others of all families go
    to val and train alternately. The only task of a family is for training.
    """
    train: list[str] = []
    tested: list[str] = []
    further: list[str] = []
    for _, names in _ordered():
        if len(names) == 1:
            train += names
            continue
        tested.append(names[0])
        train.append(names[1])
        further += names[2:]
    return {"train": (*train, *further[1::2]), "val": tuple(further[::2]), "held-out": tuple(tested)}


def family_split(fold: int) -> dict[Part, tuple[str, ...]]:
    """Hold out all tasks of one family.

    In each other family the first task by sha256 is for val and the others are for training. The only task of a family
    is for training.

    Args:
        fold: Which family, from 1, in the order of `folds`.

    Raises:
        ConfigError: There is no such family.
    """
    known = folds()
    if not 1 <= fold <= len(known):
        which = ", ".join(f"{number} {name}" for number, name in enumerate(known, 1))
        raise task_error(f"--fold {fold}: there is no such family", f"give 1 to {len(known)} ({which})")
    parts: dict[Part, list[str]] = {"train": [], "val": [], "held-out": []}
    for family, names in _ordered():
        if family == known[fold - 1]:
            parts["held-out"] += names
        elif len(names) == 1:
            parts["train"] += names
        else:
            parts["val"].append(names[0])
            parts["train"] += names[1:]
    return {part: tuple(names) for part, names in parts.items()}


def _ordered() -> list[tuple[str, list[str]]]:
    """Families in the order of folds, each with its tasks in the order of the sha256 of their names."""
    return [
        (family, sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest()))
        for family, names in sorted(families().items())
    ]


def _split_suite(names: Mapping[Part, Sequence[str]]) -> Suite:
    for part, flag in _LIST.items():
        if not names[part]:
            raise task_error(f"--{flag} names no task", "give one or several, with commas: A,B,C")
    parts = {part: tuple(find(name).task for name in names[part]) for part in _LIST}
    _check({f"--{_LIST[part]}": tasks for part, tasks in parts.items()})
    return Suite("general", parts["train"], parts["val"], parts["held-out"])


# --- lists of tasks ---------------------------------------------------------------------------------------------------


def _texts(text: str, *, alone: bool = False) -> tuple[str, ...]:
    """The tasks in a comma-separated text. A sentence that stands `alone` keeps its commas."""
    if alone and is_sentence(text):
        return (text.strip(),)
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check(lists: Mapping[str, Sequence[Task]]) -> None:
    """Check that the tasks of a run go together. `lists`: flag -> the tasks that it names."""
    known: dict[str, str] = {}
    briefs: dict[str, tuple[str, str]] = {}
    for flag, tasks in lists.items():
        for task in tasks:
            if task.name in known:
                where = known[task.name]
                both = f"names two tasks called {task.name}" if where == flag else f"and {where} name {task.name}"
                raise task_error(f"{flag} {both}", "leave one out, or rename its file")
            known[task.name] = flag
            where, name = briefs.setdefault(" ".join(task.brief.lower().split()), (flag, task.name))
            if where != flag:
                raise task_error(
                    f"{flag} names {task.name}, which has the same brief as {name} in {where}",
                    "leave one out: a brief belongs to one part of a split",
                )
    _check_targets([task for tasks in lists.values() for task in tasks])


def _check_targets(tasks: Sequence[Task]) -> None:
    for task in tasks:
        for key, value in task.targets.model_dump().items():
            other = getattr(tasks[0].targets, key)
            if value != other:
                raise task_error(
                    f"targets.{key} is {value} in {task.name} and {other} in {tasks[0].name}, but one prompt "
                    "can state only one of them",
                    "give the tasks of a run the same targets, or optimise them one by one",
                )
