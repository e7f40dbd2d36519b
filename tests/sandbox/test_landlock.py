"""The rules of the file system: programs may read little, and every right of the kernel is handled."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import localgif
from localgif.sandbox import landlock

HERE = Path(localgif.__file__).parent.parent

try:
    HANDLED = landlock.handled_rights()
except OSError as error:
    pytest.skip(f"no Landlock here: {error}", allow_module_level=True)

_PROBE = """
import os, sys
from pathlib import Path
from localgif.sandbox import landlock, syscalls
readable, scratch, *actions = sys.argv[1:]
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
landlock.restrict(landlock.handled_rights(), [Path(readable)], Path(scratch) if scratch else None)
for action in actions:
    try:
        exec(action)
    except OSError as error:
        print(error.errno)
    else:
        print(0)
"""
DENIED, CROSS_DEVICE = "13", "18"


def python(code: str, *arguments: object, path: str = str(HERE)) -> str:
    """What a Python process prints."""
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.strip()


def tried(actions: list[str], readable: Path, scratch: Path | str = "") -> list[str]:
    """The error numbers of some actions in a process that may read one folder and write another; "0" for none."""
    return python(_PROBE, readable, scratch, *actions).split()


def test_all_rights_of_the_kernel_are_handled() -> None:
    # Version 1 has 13 rights; each of them is one bit, from the lowest on, without a gap.
    assert all(bits and bits & (bits + 1) == 0 for bits in HANDLED)
    assert HANDLED[0] >= 2**13 - 1


def test_neither_home_nor_project_nor_temporary_files_are_readable() -> None:
    closed = [Path.home(), HERE, Path(tempfile.gettempdir()), Path("/etc"), Path("/proc"), Path("/dev"), Path("/")]
    for place in landlock.readable_places():
        for folder in closed:
            assert not folder.is_relative_to(place), f"{place} opens {folder}"


def test_of_a_home_with_packages_only_those_to_draw_with_are_readable(tmp_path: Path) -> None:
    for folder in ("PIL", "pillow.libs", "numpy", "secrets"):
        (tmp_path / folder).mkdir()
    (tmp_path / "PIL" / "__init__.py").touch()
    (tmp_path / "numpy" / "__init__.py").touch()
    code = "from localgif.sandbox import landlock; print(*landlock.readable_places(), sep='\\n')"
    found = python(code, path=f"{tmp_path}:{HERE}").splitlines()
    mine = {place for place in found if Path(place).is_relative_to(tmp_path)}
    assert mine == {str(tmp_path / folder) for folder in ("PIL", "pillow.libs", "numpy")}


def test_a_file_outside_is_closed_and_one_inside_open(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    for path in (inside / "file", outside):
        path.write_text("x")
    closed = [f"open({str(outside)!r})", f"open({str(outside)!r}, 'a')", f"os.truncate({str(outside)!r}, 0)"]
    closed += [f"os.unlink({str(outside)!r})", f"os.listdir({str(tmp_path)!r})", f"open({str(inside / 'file')!r}, 'a')"]
    assert tried([f"open({str(inside / 'file')!r})", *closed], inside) == ["0", *[DENIED] * 6]
    assert outside.read_text() == "x"


#: Action in the scratch directory {0}, beside the file {1} -> error number.
ACTIONS = {
    "open('{0}/new', 'w').write('x'); os.mkdir('{0}/d'); os.replace('{0}/new', '{0}/d/moved')": "0",
    "open('{0}/new', 'w'); os.unlink('{0}/new')": "0",
    "os.symlink('/', '{0}/link')": DENIED,
    "os.mkfifo('{0}/fifo')": DENIED,
    "os.link('{1}', '{0}/hard')": CROSS_DEVICE,
    "os.rename('{1}', '{0}/mine')": DENIED,
    "open('/dev/null', 'r+b').write(b'x')": "0",
}


def test_the_scratch_directory_takes_files_and_folders_and_nothing_else(tmp_path: Path) -> None:
    scratch, other = tmp_path / "scratch", tmp_path / "other"
    scratch.mkdir()
    other.write_text("x")
    found = tried([action.format(scratch, other) for action in ACTIONS], Path("/usr/lib"), scratch)
    assert dict(zip(ACTIONS, found, strict=True)) == ACTIONS


def test_a_place_that_does_not_exist_is_left_out(tmp_path: Path) -> None:
    assert tried(["None"], tmp_path / "gone") == ["0"]


#: As on Linux 5.13 to 6.1, whose Landlock knows nothing of truncation, with our filter on top.
_OLD = """
import os, sys
from pathlib import Path
from localgif.sandbox import confine, landlock, syscalls
prepared = confine.prepare()
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
prepared = confine.prepare()
old = (prepared.handled[0] & (1 << 14) - 1,)
landlock.restrict(old, [Path(sys.argv[1])], None)
if sys.argv[2] == "filtered":
    confine.install_filter(prepared.filters, write_filter=False)
try:
    os.close(os.open(sys.argv[1] + "/file", os.O_RDONLY | os.O_TRUNC))
except PermissionError:
    print("refused")
"""


@pytest.mark.parametrize(("filtered", "left"), [("filtered", "text"), ("bare", "")])
def test_what_may_be_read_cannot_be_emptied_on_an_old_kernel(filtered: str, left: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    printed = python(_OLD, tmp_path, filtered)
    assert (tmp_path / "file").read_text() == left
    assert printed == ("refused" if left else "")
