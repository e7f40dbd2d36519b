"""Commands of localgif, in this process or, for tests about processes, in their own (slower)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from localgif import offline
from localgif.cli.app import app


class Done(NamedTuple):
    """A finished command."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def exit_code(self) -> int:
        """The same as `returncode`."""
        return self.returncode

    @property
    def output(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr


def localgif(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run a command as a user does in a folder, which is also the user's home.

    Args:
        folder: Current folder and HOME.
        arguments: What follows `localgif`.
        environment: More variables.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for name, value in {"HOME": str(folder), **environment}.items():
                patch.setenv(name, value)
            result = CliRunner().invoke(app, list(arguments))
    finally:
        signal.signal(signal.SIGTERM, before)
        offline.release()
        offline._refused.clear()
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


@contextlib.contextmanager
def started(folder: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command in its own process and session, for tests about signals; it ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "localgif", *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        timer = threading.Timer(240, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()
