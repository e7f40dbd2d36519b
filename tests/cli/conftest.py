"""A model server with which a run improves, and a finished run that several test files read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.commands import Done, localgif
from tests.support.kit import fenced, program
from tests.support.masked import ACCEPTING
from tests.support.scripted import MODEL, Entry, Scripted, serving

POOR, GOOD = fenced(program(12, 100)), fenced(program(24, 40))
BETTER = "Write make_gif(path) with exactly 24 frames. Output only code."
SMALL = ("--reflection", "plain", "--metric-calls", "2", "--samples", "1", "--no-transfer", "--fresh", "4", *ACCEPTING)


class Improving(Scripted):
    """Draws 12 frames for the seed prompt, 24 for the prompt that its reflector proposes."""

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        said = super().next(path, body)
        if path != "/api/chat" or not isinstance(said, str):
            return said
        return GOOD if "24 frames" in body["messages"][0]["content"] else POOR


@contextlib.contextmanager
def improving(folder: Path) -> Iterator[Scripted]:
    """An improving server, with its models.toml in the folder."""
    with serving(Improving(animator=[POOR], reflector=[f"```\n{BETTER}\n```"])) as script:
        write_models(folder, script.url)
        yield script


def write_models(folder: Path, url: str) -> None:
    """Write a models.toml with one model of an Ollama in both roles."""
    (folder / "models.toml").write_text(
        f'[roles]\nanimator = "s"\nreflector = "s"\n[endpoints.here]\nkind = "ollama"\nurl = "{url}"\n'
        f'[models.s]\nendpoint = "here"\nmodel = "{MODEL}"\nnum_ctx = 4096\n'
    )


class Finished(NamedTuple):
    """A folder with the run "first"."""

    folder: Path
    made: Done
    """What the command that made it printed."""
    server: Scripted
    """Still running."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("finished")
    with improving(folder) as server:
        yield Finished(folder, localgif(folder, "optimize", *SMALL, "--name", "first"), server)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Scripted]:
    """An improving server that the models.toml in tmp_path names."""
    with improving(tmp_path) as script:
        yield script
