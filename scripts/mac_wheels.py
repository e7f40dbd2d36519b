"""Which wheels a Mac with Apple's processor gets from requirements.lock: asks the package index, through pip.

    ./scripts/env python -m scripts.mac_wheels      # writes docs/lab/mac-wheels.json; run it after scripts/lock

pip resolves the lock for a machine that is not here, without installing or building anything, and verifies that the
index has a wheel for each pin whose sha256 is in the lock. tests/test_lock.py reads the stored answer, so that no test
asks an index.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parent.parent
LOCK, ANSWER = ROOT / "requirements.lock", ROOT / "docs" / "lab" / "mac-wheels.json"
PYTHONS = ("3.11", "3.12", "3.13")
#: The oldest macOS that the wheels must work on; the next ones take them too.
OLDEST = (14, 0)

_ONLY_ASK = [
    *("--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--require-hashes", "--only-binary=:all:"),
    *("--implementation", "cp"),
]


def pins_for_a_mac(text: str, python: str) -> dict[str, str]:
    """Name -> version of the packages that a Mac needs."""
    mac = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "arm64",
        "platform_python_implementation": "CPython",
        "platform_system": "Darwin",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "darwin",
    }
    lines = (line.split("--hash")[0].strip(" \\") for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line))
    found = [Requirement(line) for line in lines]
    needed = [each for each in found if each.marker is None or each.marker.evaluate(mac)]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in needed}


def platforms() -> list[str]:
    """The tags of wheels that macOS of that version takes, newest first."""
    major = [f"macosx_{number}_0" for number in range(OLDEST[0], 10, -1)]
    old = [f"macosx_10_{number}" for number in range(16, 8, -1)]
    return [f"{each}_{kind}" for each in major for kind in ("arm64", "universal2")] + [
        f"{each}_universal2" for each in old
    ]


def _pin(block: str) -> tuple[str, str]:
    """Name and version of a package's lines in the lock."""
    name, _, rest = block.partition("==")
    return canonicalize_name(name), re.split(r"[ \\]", rest, maxsplit=1)[0]


def ask(python: str, pins: dict[str, str]) -> dict[str, str]:
    """Name -> file of the wheel that pip would install; raises CalledProcessError if one is missing."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder) / "wanted.txt", Path(folder) / "report.json"
        blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.read_text("utf-8"))
        chosen_blocks = [block for block in blocks if _pin(block) in {*pins.items()}]
        # Without the markers, which pip would judge for this machine.
        wanted.write_text("\n".join(re.sub(r" ; [^\\]*", " ", block) for block in chosen_blocks))
        tags = [word for tag in platforms() for word in ("--platform", tag)]
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", *_ONLY_ASK, "--python-version", python, *tags),
                *("--target", folder, "--report", str(report), "-r", str(wanted)),
            ],
            check=True,
        )
        chosen: list[dict[str, Any]] = json.loads(report.read_text("utf-8"))["install"]
    return {
        canonicalize_name(each["metadata"]["name"]): each["download_info"]["url"].rpartition("/")[2] for each in chosen
    }


def _answer(python: str, pins: dict[str, str]) -> dict[str, str]:
    """Name -> wheel; asks only for versions that the stored answer does not have."""
    stored = json.loads(ANSWER.read_text("utf-8"))["wheels"].get(python, {}) if ANSWER.exists() else {}
    known = {name: file for name, file in stored.items() if str(parse_wheel_filename(file)[1]) == pins.get(name)}
    new = {name: version for name, version in pins.items() if name not in known}
    return dict(sorted((known | (ask(python, new) if new else {})).items()))


def main() -> None:
    """Writes the answer."""
    text = LOCK.read_text("utf-8")
    found = {python: _answer(python, pins_for_a_mac(text, python)) for python in PYTHONS}
    answer = {
        "macos": ".".join(map(str, OLDEST)),
        "machine": "arm64",
        "wheels": found,
    }
    ANSWER.write_text(json.dumps(answer, indent=1) + "\n", "utf-8")
    print(
        f"{ANSWER.relative_to(ROOT)}: "
        + ", ".join(f"{len(each)} wheels for {python}" for python, each in found.items())
    )


if __name__ == "__main__":
    main()
