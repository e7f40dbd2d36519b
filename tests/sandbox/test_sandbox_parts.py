"""The small parts: text, crash reports, limits, the watch's rules, the job directory."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.records import Limits, Verdict
from localgif.sandbox import child, confine, watch
from localgif.sandbox.text import Tail, capped, clean
from localgif.sandbox.watch import Usage, breach

LIMITS = Limits()

# --- text --------------------------------------------------------------------------------------------------------


@given(st.binary() | st.text().map(lambda text: text.encode(errors="replace")))
def test_cleaning_twice_changes_nothing_more_and_leaves_no_control_character(data: bytes) -> None:
    once = clean(data)
    assert clean(once.encode()) == once
    assert not [char for char in once if (ord(char) < 32 and char not in "\t\n") or 127 <= ord(char) < 160]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Zl", "Zp"))))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean(text.encode()) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07after", "after"),
        (b"\x1b]8;;http://x\x1b\\link", "link"),
        ("\x9b2Jcleared".encode(), "cleared"),
        (b"line\r\nnext\rover", "line\nnextover"),
        (b"caf\xc3\xa9 \xff\xfe", "café "),
        ("\u202eevil".encode(), "evil"),
        (b"\x1b\x1b[31m\x1b[0m!", "!"),
    ],
)
def test_sequences_are_removed_whole(data: bytes, text: str) -> None:
    assert clean(data) == text


@pytest.mark.parametrize("start", ["\x9d", "\x9d\x9b", "\x1b]", "\x1b[", "\x1b[0", "\x9b ", "\x1b"])
def test_beginnings_of_sequences_without_an_end_cost_no_square(start: str) -> None:
    data = (start * 65_536).encode()[:65_536]
    started = time.monotonic()
    assert "\x9d" not in clean(data)
    assert time.monotonic() - started < 0.5


@given(st.lists(st.binary(max_size=50)), st.integers(0, 40))
def test_the_tail_is_the_end_of_everything_fed(chunks: list[bytes], limit: int) -> None:
    tail = Tail(limit)
    for chunk in chunks:
        tail.feed(chunk)
    assert tail.get() == (b"".join(chunks)[-limit:] if limit else b"")


def test_a_cut_is_shown() -> None:
    assert capped("abcdef", 6) == "abcdef"
    assert capped("abcdefg", 6) == "abc..."


# --- crash reports -----------------------------------------------------------------------------------------------

SOURCE = (
    "def one():\n    two()\ndef two():\n    three()\ndef three():\n    four()\ndef four():\n    raise KeyError('k')\n"
)


def crashed(source: str) -> str:
    """What the confined process would write. The sources are this file's own."""
    space: dict[str, object] = {}
    try:
        exec(compile(source, "program.py", "exec"), space)
        space["one"]()  # type: ignore[operator]
    except BaseException as error:
        return child._crash_report(error, child.lines_of(source))
    raise AssertionError("it did not fail")


def test_the_last_three_frames_of_the_program_are_shown() -> None:
    assert crashed(SOURCE) == (
        "Traceback (most recent call last):\n"
        '  File "program.py", line 4, in two\n    three()\n'
        '  File "program.py", line 6, in three\n    four()\n'
        "  File \"program.py\", line 8, in four\n    raise KeyError('k')\n"
        "KeyError: 'k'\n"
    )


def test_frames_of_libraries_are_not_shown() -> None:
    text = crashed("import json\ndef one():\n    json.loads('{')\n")
    assert text.count("File") == 1
    assert "line 3, in one\n    json.loads('{')\nJSONDecodeError: " in text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (SOURCE, "KeyError: 'k' (line 8: raise KeyError('k'))"),
        ("def one(:\n", "SyntaxError: invalid syntax (line 1: def one(:)"),
        ("def one():\n    raise ValueError\n", "ValueError (line 2: raise ValueError)"),
        (
            "def one():\n    raise ValueError('a\\n\\n  b')\n",
            "ValueError: a\n\n  b (line 2: raise ValueError('a\\n\\n  b'))",
        ),
        ("x = 1\x0c\ndef one():\n    1 / 0\n", "ZeroDivisionError: division by zero (line 3: 1 / 0)"),
    ],
)
def test_the_reason_is_read_back_from_the_report(source: str, reason: str) -> None:
    assert child.claim("printed before\n" + crashed(source), child.lines_of(source)) == reason


def test_without_a_report_the_last_line_is_the_reason() -> None:
    assert child.claim("a\nno function\n\n", ["x"]) == "no function"
    assert child.claim(" \n", ["x"]) == ""


def test_a_long_message_is_cut() -> None:
    text = crashed("def one():\n    raise ValueError('x' * 10**6)\n")
    assert len(text) < 2048 + 200


@given(st.text(), st.integers())
def test_no_output_breaks_the_reading_of_a_claim(text: str, number: int) -> None:
    child.claim(text, [])
    forged = f'Traceback (most recent call last):\n  File "program.py", line {number}, in x\n    y\n{text}'
    child.claim(forged, ["only line"])


# --- limits ------------------------------------------------------------------------------------------------------


def table(root: bool, **changes: float) -> dict[str, tuple[int, int]]:
    limits = {**LIMITS.model_dump(), **changes}
    return {name: (soft, hard) for name, (soft, hard) in confine.rlimits(limits, file_size=7, root=root).items()}


def test_the_kernels_limits_follow_ours() -> None:
    found = table(root=False)
    assert found["CPU"] == (4, 5)
    assert found["AS"] == (LIMITS.address_space, LIMITS.address_space)
    assert (found["FSIZE"], found["NPROC"], found["CORE"]) == ((7, 7), (0, 0), (1, 1))
    assert table(root=True, cpu_seconds=0.5)["CPU"] == (1, 2)


def test_the_process_limit_is_set_only_where_it_means_something() -> None:
    assert "NPROC" not in table(root=True)
    assert "NPROC" not in table(root=False, processes=2)


def test_every_limit_has_a_name_that_the_kernel_knows() -> None:
    assert [name for name in table(root=False) if not hasattr(resource, f"RLIMIT_{name}")] == []


@pytest.mark.parametrize(
    ("usage", "verdict"),
    [
        (Usage(1, 8, LIMITS.rss, 4.0), None),
        (Usage(1, 1, LIMITS.rss + 1, 0.0), Verdict.MEMORY_LIMIT),
        (Usage(2, 2, 0, 0.0), Verdict.PROCESS_LIMIT),
        (Usage(1, 9, 0, 0.0), Verdict.PROCESS_LIMIT),
        (Usage(1, 1, 0, 4.01), Verdict.CPU_LIMIT),
        (Usage(1, 1, 0, 0.0, 2 * LIMITS.scratch_bytes), None),
        (Usage(1, 1, 0, 0.0, 2 * LIMITS.scratch_bytes + 1), Verdict.DISK_LIMIT),
    ],
)
def test_a_breach_is_more_than_the_limit(usage: Usage, verdict: Verdict | None) -> None:
    found = breach(usage, LIMITS)
    assert (found.verdict if found else None) == verdict


def test_a_breach_says_how_much() -> None:
    found = breach(Usage(1, 1, 0, 4.04), LIMITS)
    assert found and found.reason == "used 4.0 s of CPU, the limit is 4 s"
    found = breach(Usage(1, 1, 600 * 2**20, 0), LIMITS)
    assert found and found.reason == "used 600 MB of memory, the limit is 500 MB"


# --- the job directory -------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "jobs"))
    (tmp_path / "jobs").mkdir()
    return tmp_path / "jobs"


def test_a_job_directory_is_private_and_gone_afterwards_even_after_an_exception(jobs: Path) -> None:
    with pytest.raises(KeyError), watch.job_directory() as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "a" / "b").mkdir(parents=True)
        (directory / "a" / "b" / "file").touch()
        raise KeyError
    assert list(jobs.iterdir()) == []


def test_removing_a_directory_does_not_follow_links(jobs: Path) -> None:
    outside = jobs.parent / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder" / "file").touch()
    with watch.job_directory() as directory:
        (directory / "link").symlink_to(outside)
        (directory / "deeper").mkdir()
        (directory / "deeper" / "link").symlink_to(outside / "folder")
    assert (outside / "folder" / "file").exists()


def test_the_directory_may_hold_its_limit_and_no_more(jobs: Path) -> None:
    limits = Limits(scratch_entries=3, scratch_bytes=10)
    (jobs / "folder").mkdir()
    (jobs / "folder" / "file").write_bytes(b"x" * 10)
    (jobs / "link").symlink_to("/")
    assert watch.scratch_breach(jobs, limits) is None
    (jobs / "more").touch()
    found = watch.scratch_breach(jobs, limits)
    assert found and found.reason == "made more than 3 files and folders"
    found = watch.scratch_breach(jobs, Limits(scratch_bytes=9))
    assert found and found.verdict == Verdict.DISK_LIMIT


def test_the_sweep_takes_only_directories_of_dead_apps(jobs: Path) -> None:
    mine = watch._home()
    start = watch._start(os.getpid())
    kept = [
        f"localgif-{os.getpid()}-{mine}-{start}-alive",
        "localgif-weights",
        f"localgif-{os.getpid()}-00000000-1-{start}-elsewhere",
        f"other-{os.getpid()}-{mine}-1-reused",
    ]
    stale = [f"localgif-{os.getpid()}-{mine}-1-reused", f"localgif-{2**22 + 1}-{mine}-1-gone"]
    old = f"localgif-1-00000000-1-{start}-otherboot"
    for name in [*kept, *stale, old]:
        (jobs / name / "inside").mkdir(parents=True)
    long_ago = time.time() - 2 * watch.FOREIGN_AGE
    os.utime(jobs / old, (long_ago, long_ago))
    (jobs / f"localgif-{2**22 + 1}-{mine}-1-link").symlink_to(jobs / kept[0])
    assert {path.name for path in watch.sweep()} == {*stale, old}
    assert {path.name for path in jobs.iterdir() if not path.is_symlink()} == set(kept)
