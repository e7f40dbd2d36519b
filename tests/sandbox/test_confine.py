"""The rules of the file system: programs may read little, and every right of the kernel is handled."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import localgif
from localgif.sandbox import confine, places

HERE = Path(localgif.__file__).parent.parent

try:
    HANDLED = confine.handled_rights()
except OSError as error:
    pytest.skip(f"no Landlock here: {error}", allow_module_level=True)


def python(code: str, *arguments: object, path: str = str(HERE)) -> str:
    """What a Python process prints."""
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.strip()


def test_all_rights_of_the_kernel_are_handled() -> None:
    # Version 1 has 13 rights; each of them is one bit, from the lowest on, without a gap.
    assert all(bits and bits & (bits + 1) == 0 for bits in HANDLED)
    assert HANDLED[0] >= 2**13 - 1


def test_neither_home_nor_project_nor_temporary_files_are_readable() -> None:
    closed = [Path.home(), HERE, Path(tempfile.gettempdir()), Path("/etc"), Path("/proc"), Path("/dev"), Path("/")]
    for place in places.readable():
        for folder in closed:
            assert not folder.is_relative_to(place), f"{place} opens {folder}"


def test_of_a_home_with_packages_only_those_to_draw_with_are_readable(tmp_path: Path) -> None:
    for folder in ("PIL", "pillow.libs", "numpy", "secrets"):
        (tmp_path / folder).mkdir()
    (tmp_path / "PIL" / "__init__.py").touch()
    (tmp_path / "numpy" / "__init__.py").touch()
    code = "from localgif.sandbox import places; print(*places.readable(), sep='\\n')"
    found = python(code, path=f"{tmp_path}:{HERE}").splitlines()
    mine = {place for place in found if Path(place).is_relative_to(tmp_path)}
    assert mine == {str(tmp_path / folder) for folder in ("PIL", "pillow.libs", "numpy")}
