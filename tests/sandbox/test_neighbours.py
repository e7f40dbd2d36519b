"""Programs that run at the same time in one keeper: a hostile one costs its neighbours nothing but time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from localgif.records import ProgramResult, Verdict
from localgif.sandbox import keeper_client
from localgif.sandbox.protocol import FULL, LAYERS, LIMITS_ONLY
from localgif.sandbox.runner import run_program
from tests.sandbox import corpus
from tests.sandbox.guest_kit import SMALL, grounds

PROGRAMS = corpus.programs()
HOSTILE = (
    "p33_fifty_forks",
    "p34_daemon",
    "p34b_hopping_daemon",
    "p34c_daemon_without_environment",
    "p34d_sibling",
    "p34f_thirty_daemons",
    "p35_subprocess",
    "r55_grows",
    "f16_ten_thousand_files",
    "o89_patches_exit",
    "o99_breaks_the_way_out",
    "o99b_replaces_the_harness",
    "r64_null_pointer",
    "r62_prints_for_ever",
)


@pytest.mark.parametrize("level", [FULL, LIMITS_ONLY])
def test_a_hostile_program_harms_no_neighbour(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str) -> ProgramResult:
        return run_program(PROGRAMS[name].source({}), SMALL, layers=LAYERS[level])

    with grounds(tmp_path, monkeypatch) as ground, ThreadPoolExecutor(3) as pool:
        hostile = [pool.submit(run, name) for name in HOSTILE]
        benign = [pool.submit(run, "b1_plain") for _ in range(10)]
        first = run("b1_plain").gif
        assert [one.result().gif for one in benign] == [first] * 10
        case = corpus.Case(level, corpus.USERS[0])
        bad = {name: one.result().verdict for name, one in zip(HOSTILE, hostile, strict=True)}
        for name, verdict in bad.items():
            expected = PROGRAMS[name].verdicts(case) | PROGRAMS[name].verdicts(case._replace(user="user"))
            assert verdict in expected | {Verdict.WALL_LIMIT}, name
        ground.check()
        pid = keeper_client.pid()
        assert pid is not None and psutil.Process(pid).children() == []
