"""The profile for macOS says what it should, and is applied to each job; a stand-in for sandbox-exec shows how."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.gif import MEASURE
from localgif.records import Limits, Measurements, Verdict
from localgif.sandbox import jobs, keeper_client, portable, probe, seatbelt
from localgif.sandbox.protocol import FULL, LAYERS, LIMITS_ONLY, SEATBELT, Ended, Job, LayerMissing
from localgif.sandbox.runner import measure_gif, run_program
from tests.support import masked
from tests.support.ground import PLAIN, SMALL, Ground

GOLDEN = """\
(version 1)
(deny default)
; what every process of this version of macOS needs to start
(import "system.sb")
(deny network*)
(deny process-fork)
(allow process-exec
    (literal "/venv/bin/python"))
(allow process-info* (target self))
(allow signal (target self))
(allow sysctl-read)
; sizes and times of files are not secret at the other levels either, and Python asks for them on its way
(allow file-read-metadata)
(allow file-read*
    (literal "/")
    (literal "/venv"))
(allow file-read*
    (subpath "/usr/lib")
    (subpath "/odd \\"name\\" \\\\ here"))
(allow file-read* (literal "/dev/random") (literal "/dev/urandom"))
(allow file-read* file-write-data (literal "/dev/null"))
"""


def profile(scratch: Path | None = None) -> str:
    readable = [Path("/usr/lib"), Path('/odd "name" \\ here')]
    return seatbelt.profile([Path("/venv/bin/python")], readable, [Path("/venv")], scratch)


def test_the_profile_is_this_text() -> None:
    assert profile() == GOLDEN


def test_only_the_scratch_folder_may_be_written_and_a_measurer_has_none(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    real = f'(allow file-read* file-write* (subpath "{tmp_path}/real"))\n'
    assert profile(tmp_path / "link") == GOLDEN + real, "the kernel sees paths without links"
    assert "file-write*" not in profile()


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).map("/x{}".format))
def test_no_name_of_a_folder_can_end_its_string(name: str) -> None:
    text = seatbelt.profile([], [Path(name)], [], None)
    inside = text.split("(subpath ", 1)[1].split(')\n(allow file-read* (literal "/dev/random")', 1)[0]
    assert (inside.startswith('"') and inside.endswith('")')) or inside.endswith('"')
    body = inside.rstrip(")")[1:-1]
    assert '"' not in body.replace("\\\\", "").replace('\\"', "")


def test_python_its_packages_and_our_code_may_be_read_and_no_home() -> None:
    text = seatbelt.command(None)[2]
    for module in (json, pytest, seatbelt):
        folders = Path(str(module.__file__)).resolve().parents
        assert any(f'(subpath "{folder}")' in text for folder in folders), module.__name__
    assert f'(subpath "{Path.home()}")' not in text


# --- how it is applied -------------------------------------------------------------------------------------------


def stand_in(path: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sandbox-exec that writes down its arguments, then does `body`."""
    script, said = path / "sandbox-exec", path / "arguments"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n---\\n" "$1" "$2" >> "{said}"\n{body}\n')
    script.chmod(0o700)
    monkeypatch.setattr(seatbelt, "SANDBOX_EXEC", script)
    return said


def test_each_job_runs_under_the_profile_of_its_own_directory(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stand_in(tmp_path, '[ "$1" = -p ] || exit 64\nshift 2\nexec "$@"', monkeypatch)
    told = PLAIN.replace("def make_gif(path):", "def make_gif(path):\n    print(path)", 1)
    gifs = [ground.run(told, layers=LAYERS[SEATBELT]).gif for _ in range(2)]
    assert gifs[0] is not None and gifs[0] == gifs[1]
    assert isinstance(measure_gif(gifs[0], MEASURE, layers=LAYERS[SEATBELT]), Measurements)
    portable.stop()
    profiles = [part for part in said.read_text().split("\n---\n") if "(version 1)" in part]
    writable = [line for text in profiles for line in text.splitlines() if "file-write*" in line]
    assert len(writable) == len({*writable}) == 2, "no process that waits may be used in another directory"
    assert all(f'"{ground.jobs}/localgif-' in line for line in writable)


def test_a_profile_that_this_macos_refuses_is_a_missing_layer_with_its_words(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "echo 'sandbox-exec: line 4: unbound variable' >&2\nexit 65", monkeypatch)
    with pytest.raises(LayerMissing, match="line 4: unbound variable"):
        run_program(PLAIN, SMALL, layers=LAYERS[SEATBELT])


# --- whether it holds --------------------------------------------------------------------------------------------


@pytest.fixture
def a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_client, "missing", lambda: "needs Linux")
    monkeypatch.setattr(seatbelt, "SANDBOX_EXEC", Path("/bin/sh"))


def taking(layers: frozenset[str]) -> Callable[[Job, Limits, Path], Ended]:
    """run_confined on a machine on which Seatbelt does what `layers` do."""

    def run(job: Job, limits: Limits, directory: Path) -> Ended:
        instead = layers if SEATBELT in job.layers else job.layers
        return jobs.run_confined(dataclasses.replace(job, layers=instead), limits, directory)

    return run


@pytest.mark.usefixtures("a_mac")
def test_a_profile_that_holds_gives_the_level(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setattr(probe, "run_confined", taking(LAYERS[FULL]))
        found = probe.check()
    except LayerMissing as error:
        pytest.skip(f"nothing here can stand in for Seatbelt: {error}")
    assert (found.level, found.missing) == (SEATBELT, ("full: needs Linux",))
    assert all(each.refused for each in found.probes)


@pytest.mark.usefixtures("a_mac")
def test_a_profile_that_does_nothing_is_found_out(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "run_confined", taking(LAYERS[LIMITS_ONLY]))
    monkeypatch.setattr(probe, "ATTACKS", probe.ATTACKS[:3])  # each takes a process of its own without the keeper
    found = probe.check()
    assert found.level == LIMITS_ONLY
    assert found.missing[0] == "full: needs Linux"
    assert found.missing[1].startswith("seatbelt: these were not refused: write a file outside, delete a file outside")


@pytest.mark.usefixtures("a_mac")
def test_without_sandbox_exec_it_is_not_tried(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seatbelt, "SANDBOX_EXEC", Path("/nonexistent"))
    monkeypatch.setattr(probe, "ATTACKS", probe.ATTACKS[:3])  # each takes a process of its own without the keeper
    found = probe.check()
    last = ("limits-only: this system lacks privileges",) if masked.ON else ()
    assert found.missing == ("full: needs Linux", "seatbelt: there is no /nonexistent", *last)
    assert ground.run(PLAIN, layers=LAYERS[found.level]).verdict is Verdict.OK
