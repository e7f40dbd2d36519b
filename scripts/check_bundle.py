"""`just check bundle`: makes a real bundle with SmolLM2, tampers with it, installs it without a network, and runs it.

The check takes some minutes and 3 GB in the temporary folder. Only the first step needs a package index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support import tracing
from tests.support.tracing import MODELS, ROOT, in_namespace

LONGEST_INSTALL = 180.0
"""Seconds; docs/offline.md promises it."""


def check(fact: bool, what: str) -> None:
    """End the check unless the fact holds."""
    if not fact:
        raise SystemExit(f"FAILED: {what}")


Run = tuple[subprocess.CompletedProcess[str], float]


def run(command: list[str], folder: Path, environment: dict[str, str]) -> Run:
    """Run a command; returns the finished process and its seconds."""
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    return done, time.monotonic() - started


def make(work: Path) -> Path:
    """Make the bundle on this machine."""
    (work / "given.toml").write_text(MODELS)
    command = [sys.executable, "-m", "localgif", "bundle", "--output", "bundle", "--models", "given.toml"]
    done, seconds = run(command, work, {**os.environ, "PYTHONPATH": str(ROOT)})
    check(done.returncode == 0, f"localgif bundle: {done.stderr}")
    print(f"made in {seconds:.0f} s\n{done.stdout}")
    again, _ = run(command, work, {**os.environ, "PYTHONPATH": str(ROOT)})
    check(again.returncode == 2 and "already holds a complete bundle" in again.stderr, "a second time it is refused")
    return work / "bundle"


def tamper(bundle: Path, target: Path, environment: dict[str, str]) -> None:
    """Check that the installer names a changed and a missing wheel, and installs nothing."""
    wheel = max((bundle / "wheels").glob("*.whl"), key=lambda path: path.stat().st_size)

    def flip() -> None:
        with wheel.open("r+b") as file:
            file.seek(wheel.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 1]))

    flip()
    install = ["sh", str(bundle / "install.sh"), str(target)]
    done, seconds = run(install, bundle.parent, environment)
    check(done.returncode == 3 and f"wheels/{wheel.name} is not the file" in done.stderr, f"a bit: {done.stderr}")
    flip()
    print(f"one bit of {wheel.name} changed: refused by name after {seconds:.1f} s")
    hidden = wheel.rename(bundle.parent / "hidden.whl")
    done, seconds = run(install, bundle.parent, environment)
    check(done.returncode == 3 and f"wheels/{wheel.name} is missing" in done.stderr, f"a wheel: {done.stderr}")
    hidden.rename(wheel)
    print(f"{wheel.name} removed: refused by name after {seconds:.1f} s")
    check(not target.exists(), "nothing was installed")


def install_and_run(bundle: Path, target: Path, home: Path, environment: dict[str, str]) -> None:
    """Install and run in a namespace that has only loopback."""
    done, seconds = run(in_namespace("sh", str(bundle / "install.sh"), str(target)), bundle.parent, environment)
    check(done.returncode == 0, f"install.sh: {done.stderr}")
    print(f"installed without a network in {seconds:.0f} s: {done.stdout.strip()}")
    check(seconds < LONGEST_INSTALL, f"the install took {seconds:.0f} s")
    shutil.rmtree(bundle)  # the installation may not need it any more
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"the installed folder: {size / 1e6:,.0f} MB")
    budget = ("--metric-calls", "2", "--samples", "1", "--fresh", "1", "--minutes", "1", "--name", "first")
    just = str(target / "scripts" / "just")
    done, seconds = run(in_namespace(just, "optimize", *budget), home, environment)
    check(done.returncode == 0, f"just optimize: {done.stderr}")
    print(f"just optimize without a network: {seconds:.0f} s, exit 0\n{done.stdout}")
    check((target / "runs" / "first" / "report.html").exists(), "a report is written")
    done, _ = run(in_namespace(just, "models", "check"), home, environment)
    check(str(target / ".localgif" / "models") in done.stdout, f"weights from the bundle: {done.stdout}{done.stderr}")
    left = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
    check(not left, f"nothing is left in the home folder: {left}")
    print("the home folder is as empty as before")
    watched = tracing.traced(
        home, environment, "localgif report", str(target / "scripts" / "env"), "localgif", "report"
    )
    check(watched.status == 0 and not tracing.leaks([watched]), f"localgif report: {watched.stderr}")


def main() -> int:
    why = tracing.why_not()
    if why:
        print(f"error: {why}", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="localgif-bundle-") as made:
        work = Path(made)
        home = work / "home"
        home.mkdir()
        python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LOCALGIF_PYTHON": str(python)}
        bundle = make(work)
        tamper(bundle, work / "target", environment)
        install_and_run(bundle, work / "target", home, environment)
    print("the bundle is complete, refuses changed files, and runs without a network")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
