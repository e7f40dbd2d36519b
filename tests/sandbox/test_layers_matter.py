"""Each layer is needed: without it a program of the corpus gets further, and the suite notices.

And a machine that lacks Landlock or seccomp is found out whatever error it answers with, falls to the right level, and
holds there what that level promises.
"""

from __future__ import annotations

import pytest

from localgif.sandbox.layers import (
    KILL,
    LANDLOCK,
    NETWORK,
    PRIVILEGES,
    RLIMITS,
    SECCOMP,
    WATCH,
    WRITE_FILTER,
)
from tests.sandbox import corpus
from tests.sandbox.cases import AS_ROOT, check, drive
from tests.sandbox.corpus import Case

PROGRAMS = corpus.programs()
USERS = corpus.USERS if AS_ROOT else ("user",)

#: Layers that are switched off, where, and the program that must then be noticed.
PLANTED = [
    ({LANDLOCK}, "full", "root user", "f01_deletes_a_folder"),
    ({LANDLOCK}, "full", "root user", "f07b_carries_a_secret_out"),
    ({LANDLOCK}, "full", "root user", "f23_writes_shared_memory"),
    ({SECCOMP}, "full", "root user", "f04_chmods"),
    ({SECCOMP}, "full", "root user", "n27_unix_path"),
    ({SECCOMP}, "full", "root user", "p49b_x32_calls"),
    ({WRITE_FILTER}, "no-read-confinement", "root user", "f02_overwrites"),
    ({WRITE_FILTER}, "no-read-confinement", "root user", "f02c_creates_while_opening_to_read"),
    ({RLIMITS}, "full", "root user", "f17b_one_file_too_large"),
    ({PRIVILEGES}, "full", "root", "p48c_ignores_modes"),
    ({PRIVILEGES}, "limits-only", "root user", "p48d_says_what_it_may"),
    ({WATCH}, "full", "root user", "f16_ten_thousand_files"),
    ({WATCH}, "full", "root user", "f16d_many_bytes_in_many_files"),
    ({KILL}, "limits-only", "root", "p34c_daemon_without_environment"),
    # For an ordinary user the kernel's limit on processes comes first.
    ({KILL, RLIMITS}, "limits-only", "user", "p34c_daemon_without_environment"),
]


@pytest.mark.parametrize(
    ("off", "case", "name"),
    [
        pytest.param(off, Case(level, user), name, id=f"{'+'.join(sorted(off))}-{user}-{name}")
        for off, level, users, name in PLANTED
        for user in users.split()
        if user in USERS
    ],
)
def test_a_layer_that_is_switched_off_is_noticed(off: set[str], case: Case, name: str) -> None:
    seen = drive(case, [name], off=off)[name]
    with pytest.raises(AssertionError):
        check(PROGRAMS[name], case, seen)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(("name", "mark"), [("n25_tcp", "tcp"), ("n26_udp", "udp"), ("n27b_unix_abstract", "unix")])
def test_the_network_is_reached_without_its_layer(user: str, name: str, mark: str) -> None:
    """Best effort where seccomp is missing; so the headers promise nothing, and this test compares."""
    case = Case("limits-only", user)
    assert drive(case, [name], off={NETWORK})[name].marks == [mark]
    if drive(case, [name])[name].marks:
        pytest.skip("no network of its own can be had on this machine")


@pytest.mark.parametrize("user", USERS)
def test_an_environment_that_is_handed_on_is_noticed(user: str) -> None:
    names = ["o98_environment", "o97b_searches_for_the_environment"]
    seen = drive(Case("full", user), names, leaky=True)
    assert seen[names[0]].marks == ["secret"]
    assert "found 1 times" in seen[names[1]].reason


#: At each level: one thing that it still holds, and one that works.
HELD = {
    "no-read-confinement": ["b1_plain", "f01_deletes_a_folder", "f04_chmods", "n25_tcp", "p38b_kills_its_parent"],
    "weak": ["b2_replace", "f01_deletes_a_folder", "f07b_carries_a_secret_out", "f04_chmods", "p38_kills"],
    "limits-only": ["b2_replace", "f02_overwrites", "r51_spins", "o76_junk_with_magic"],
}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("lacks", "level"),
    [
        ({"landlock": "ENOSYS"}, "no-read-confinement"),
        ({"landlock": "EOPNOTSUPP"}, "no-read-confinement"),
        ({"landlock": "EPERM"}, "no-read-confinement"),
        ({"seccomp": "EINVAL"}, "weak"),
        ({"landlock": "ENOSYS", "seccomp": "EINVAL"}, "limits-only"),
    ],
    ids=lambda value: "+".join(f"{k}-{v}" for k, v in value.items()) if isinstance(value, dict) else value,
)
def test_a_kernel_without_a_layer_is_found_out(lacks: dict[str, str], level: str, user: str) -> None:
    """The driver fails unless this very level is found; then programs run the way they do in a run."""
    case = Case(level, user)
    for name, seen in drive(case, HELD[level], lacks=lacks).items():
        check(PROGRAMS[name], case, seen)


@pytest.mark.parametrize("user", USERS)
def test_the_oldest_landlock_holds_together_with_the_filter(user: str) -> None:
    """What it does not know yet (moving between folders, truncation, TCP, devices, signals), seccomp refuses."""
    case = Case("full", user)
    names = [name for name, program in PROGRAMS.items() if name[0] in "fnb" and program.runs_in(case)]
    names += ["p36b_execs_itself_away", "p38_kills", "p40_signal_by_descriptor", "p40c_types_into_a_terminal"]
    for name, seen in drive(case, names, landlock=1).items():
        check(PROGRAMS[name], case, seen)


def test_an_old_landlock_is_really_taken_for_one() -> None:
    case = Case("full", USERS[0])
    assert drive(case, ["n25_tcp"], off={SECCOMP}, landlock=3)["n25_tcp"].marks == ["tcp"]
    assert drive(case, ["n25_tcp"], off={SECCOMP}, landlock=4)["n25_tcp"].marks == []


def test_a_machine_that_holds_too_little_is_refused_unless_it_is_accepted() -> None:
    with pytest.raises(AssertionError, match="SandboxTooWeak"):
        drive(Case("no-read-confinement", "user"), ["b1_plain"], lacks={"seccomp": "EINVAL"})
