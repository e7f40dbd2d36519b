"""Which tasks a run works on: one, several that share a prompt, or some to learn from and others for the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from localgif.settings import SHIPPED_SPLIT, Mode
from localgif.tasks.sentence import find, is_sentence
from localgif.tasks.task import Targets, Task, load_task, task_error

Part = Literal["train", "val", "held-out"]

#: The split of mode "general". Its parts share no family, or a test task would only be another colour of a trained one.
#: In the order of the sha256 of their names, two families are for training, one chooses among candidates, two are for
#: the test, and the last one (compose) is unused. A larger family gives the first three by name that need no scale of
#: their own.
SPLIT: dict[Part, tuple[str, ...]] = {
    "train": (
        *("diagonal-ball", "orbiting-ball", "sliding-square"),
        *("breathing-triangle", "pulsing-circle", "pulsing-square"),
    ),
    "val": ("bouncing-ball", "bouncing-square", "two-balls"),
    "held-out": (
        *("spinning-bar", "spinning-square", "spinning-star"),
        *("fading-circle", "fading-square", "moving-chameleon"),
    ),
}


class Suite(NamedTuple):
    """The tasks of a run by their purpose."""

    mode: Mode
    train: tuple[Task, ...]
    """The search reflects on these; the worked examples are theirs."""
    val: tuple[Task, ...]
    """A candidate's standing is its mean over these. The same as `train`, except in mode "general"."""
    tested: tuple[Task, ...]
    """The fresh samples at the end are of these. The same as `train`; in mode "general", tasks never seen before."""

    @property
    def targets(self) -> Targets:
        """Of every task, because one prompt states one set of targets."""
        return self.train[0].targets

    @property
    def all(self) -> tuple[Task, ...]:
        """Each task once."""
        return tuple({task.name: task for task in (*self.train, *self.val, *self.tested)}.values())

    @property
    def split(self) -> dict[Part, tuple[str, ...]] | None:
        """Names by part, as they are stored; None without a split."""
        if self.mode != "general":
            return None
        parts: dict[Part, tuple[Task, ...]] = {"train": self.train, "val": self.val, "held-out": self.tested}
        return {part: tuple(task.name for task in tasks) for part, tasks in parts.items()}

    @property
    def objective(self) -> str:
        """The aim that GEPA's stock reflection gets."""
        if self.mode == "single":
            return self.train[0].objective
        drawn = "the requested animation, whichever it is"
        if self.mode == "multi":
            drawn += f" ({'; '.join(task.brief for task in self.train)})"
        return self.train[0].objective.replace(self.train[0].brief, drawn)

    def task(self, name: str) -> Task:
        """A task of this run by its name."""
        return next(task for task in self.all if task.name == name)


def suite_of(
    mode: Mode, stored: Sequence[Task | Mapping[str, Any]], split: Mapping[str, Sequence[str]] | None
) -> Suite:
    """The tasks of a run from its record.

    Args:
        mode: The run's mode.
        stored: The tasks.
        split: Names by part; None without a split.

    Raises:
        ValidationError: A stored task is malformed.
        KeyError: The split names a task that is not stored.
    """
    tasks = {task.name: task for task in map(Task.model_validate, stored)}
    if split is None:
        every = tuple(tasks.values())
        return Suite(mode, every, every, every)
    train, val, tested = (tuple(tasks[name] for name in split[part]) for part in SPLIT)
    return Suite(mode, train, val, tested)


def task_texts(mode: Mode, text: str) -> tuple[str, ...]:
    """The tasks that --task names, each as a name, a path or a sentence; none for the split of mode general."""
    if mode == "general":
        return ()
    if mode == "single" and is_sentence(text):  # its commas are its own
        return (text.strip(),)
    return tuple(part.strip() for part in text.split(",") if part.strip())


def load_suite(mode: Mode, text: str) -> Suite:
    """The tasks of a run.

    Args:
        mode: The run's mode.
        text: One task, tasks with commas between them (multi), or the name of the split (general). A task is the name
            of a shipped one, the path of a TOML file, or a sentence.

    Raises:
        ConfigError: A task cannot be read, there are too few or too many, two have one name, or their targets differ.
    """
    if mode == "general":
        if text != SHIPPED_SPLIT:
            raise task_error(
                f"--task {text}: --mode general has a split of its own ({SHIPPED_SPLIT}), so that nobody chooses its "
                "held-out tasks",
                "leave --task out, or name several tasks with --mode multi",
            )
        train, val, tested = (tuple(map(load_task, SPLIT[part])) for part in SPLIT)
        return Suite(mode, train, val, tested)
    names = task_texts(mode, text)
    if mode == "single" and len(names) != 1:
        raise task_error(f"--task {text!r} names {len(names)} tasks", "name one, or add --mode multi")
    if mode == "multi" and len(names) < 2:
        raise task_error(f"--task {text!r}: --mode multi needs at least two tasks", "name them with commas: A,B,C")
    tasks = tuple(find(name).task for name in names)
    _check(tasks)
    return Suite(mode, tasks, tasks, tasks)


def _check(tasks: tuple[Task, ...]) -> None:
    known: dict[str, Task] = {}
    for task in tasks:
        if task.name in known:
            raise task_error(f"--task names two tasks called {task.name}", "leave one out, or rename its file")
        known[task.name] = task
        for key, value in task.targets.model_dump().items():
            other = getattr(tasks[0].targets, key)
            if value != other:
                raise task_error(
                    f"targets.{key} is {value} in {task.name} and {other} in {tasks[0].name}, but one prompt can ask "
                    "only for one of them",
                    "give the tasks of a run the same targets, or optimise them one by one",
                )
