"""The briefs that ship with localgif."""

from __future__ import annotations

import tomllib
from importlib import resources

from pydantic import Field, ValidationError

from localgif.config import nearest
from localgif.errors import ConfigError
from localgif.records import Record


class Targets(Record):
    """What a GIF of the task is measured against."""

    frames: int = Field(ge=2, le=200)
    loop_ms: int = Field(ge=100, le=60_000)
    """Playback time of one loop, milliseconds."""
    max_bytes: int = Field(ge=1024)
    """The file must be smaller than this."""

    @property
    def delay_ms(self) -> int:
        """Delay of one frame, milliseconds: what comes nearest to `loop_ms` in the 10 ms steps of GIF, at least 20."""
        return max(20, 10 * round(self.loop_ms / self.frames / 10))


class Task(Record):
    """One GIF brief with its targets."""

    name: str
    brief: str = Field(min_length=3)
    targets: Targets

    @property
    def objective(self) -> str:
        """What the reflector is told to aim at."""
        t = self.targets
        return (
            f"The component is the system prompt of a small model that writes Python code. Improve it so that the "
            f"program which the model writes draws this animation: {self.brief}. The saved GIF must have exactly "
            f"{t.frames} frames; the last frame must lead back to the first so that it loops without a jump; one loop "
            f"must play in about {t.loop_ms / 1000:g} s; the file must stay under {t.max_bytes // 1024} KB. The "
            "program may use only the Python standard library and Pillow."
        )


def task_names() -> tuple[str, ...]:
    """Names of the shipped tasks."""
    folder = resources.files(__package__)
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_task(name: str) -> Task:
    """One shipped task.

    Raises:
        ConfigError: there is none of that name; the message lists the nearest.
    """
    if name not in task_names():
        raise ConfigError(f'there is no task "{name}"', nearest(name, task_names()))
    text = resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    try:
        return Task.model_validate({"name": name, **tomllib.loads(text)})
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(f"the task file {name}.toml cannot be used: {error}", "reinstall localgif") from None
