"""Each layer is needed: without it a program of the corpus gets further, and the suite notices.

And a machine that lacks Landlock or seccomp is found out whatever error it answers with, falls to the right level, and
holds there what that level promises.
"""

from __future__ import annotations

import pytest

from localgif.sandbox.protocol import KILL, LANDLOCK, NETWORK, PRIVILEGES, RLIMITS, SECCOMP, WATCH, WRITE_FILTER
from tests.sandbox import corpus
from tests.sandbox.cases import AS_ROOT, Drive, Drives, check, drive
from tests.sandbox.corpus import Case

PROGRAMS = corpus.programs()
USERS = corpus.USERS if AS_ROOT else ("user",)


@pytest.fixture(scope="module")
def drives(request: pytest.FixtureRequest) -> Drives:
    """What drivers saw; only those that the selected tests need are run."""
    return Drives(request.session.items)


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


def planted(off: set[str], case: Case) -> Drive:
    """One driver for all programs that run without the same layers."""
    programs = [(set(layers), level, users.split(), name) for layers, level, users, name in PLANTED]
    names = [p for layers, level, users, p in programs if (layers, level) == (off, case.level) and case.user in users]
    return Drive(case, tuple(names), off=frozenset(off))


@pytest.mark.parametrize(
    ("without", "name"),
    [
        pytest.param(planted(off, Case(level, user)), name, id=f"{'+'.join(sorted(off))}-{user}-{name}")
        for off, level, users, name in PLANTED
        for user in users.split()
        if user in USERS
    ],
)
def test_a_layer_that_is_switched_off_is_noticed(without: Drive, name: str, drives: Drives) -> None:
    seen = drives.seen(without)[name]
    with pytest.raises(AssertionError):
        check(PROGRAMS[name], without.case, seen)


#: Programs that reach a listener, and its mark.
REACHING = {"n25_tcp": "tcp", "n26_udp": "udp", "n27b_unix_abstract": "unix"}


@pytest.mark.parametrize(("name", "mark"), REACHING.items())
@pytest.mark.parametrize(
    ("without", "as_it_is"),
    [
        pytest.param(Drive(case, (*REACHING,), off=frozenset({NETWORK})), Drive(case, (*REACHING,)), id=case.user)
        for case in (Case("limits-only", user) for user in USERS)
    ],
)
def test_the_network_is_reached_without_its_layer(
    without: Drive, as_it_is: Drive, name: str, mark: str, drives: Drives
) -> None:
    """Best effort where seccomp is missing; so the headers promise nothing, and this test compares."""
    assert drives.seen(without)[name].marks == [mark]
    if drives.seen(as_it_is)[name].marks:
        pytest.skip("no network of its own can be had on this machine")


@pytest.mark.parametrize(
    "handed_on",
    [
        pytest.param(
            Drive(Case("full", user), ("o98_environment", "o97b_searches_for_the_environment"), leaky=True), id=user
        )
        for user in USERS
    ],
)
def test_an_environment_that_is_handed_on_is_noticed(handed_on: Drive, drives: Drives) -> None:
    finds, searches = (drives.seen(handed_on)[name] for name in handed_on.names)
    assert finds.marks == ["secret"]
    assert "found 1 times" in searches.reason


#: At each level: one thing that it still holds, and one that works.
HELD = {
    "no-read-confinement": ("b1_plain", "f01_deletes_a_folder", "f04_chmods", "n25_tcp", "p38b_kills_its_parent"),
    "weak": ("b2_replace", "f01_deletes_a_folder", "f07b_carries_a_secret_out", "f04_chmods", "p38_kills"),
    "limits-only": ("b2_replace", "f02_overwrites", "r51_spins", "o76_junk_with_magic"),
}
#: What a kernel lacks and how it says so, and the level that is left.
LACKING = [
    ({"landlock": "ENOSYS"}, "no-read-confinement"),
    ({"landlock": "EOPNOTSUPP"}, "no-read-confinement"),
    ({"landlock": "EPERM"}, "no-read-confinement"),
    ({"seccomp": "EINVAL"}, "weak"),
    ({"landlock": "ENOSYS", "seccomp": "EINVAL"}, "limits-only"),
]


def all_hold(wanted: Drive, drives: Drives) -> None:
    found = drives.seen(wanted)
    assert set(found) == set(wanted.names)
    for name, seen in found.items():
        check(PROGRAMS[name], wanted.case, seen)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(
            Drive(Case(level, user), HELD[level], lacks=tuple(lacks.items())),
            id=f"{'+'.join('-'.join(pair) for pair in lacks.items())}-{level}-{user}",
        )
        for lacks, level in LACKING
        for user in USERS
    ],
)
def test_a_kernel_without_a_layer_is_found_out(wanted: Drive, drives: Drives) -> None:
    """The driver fails unless this very level is found; then programs run the way they do in a run."""
    all_hold(wanted, drives)


def with_the_oldest(case: Case) -> Drive:
    names = [name for name, program in PROGRAMS.items() if name[0] in "fnb" and program.runs_in(case)]
    names += ["p36b_execs_itself_away", "p38_kills", "p40_signal_by_descriptor", "p40c_types_into_a_terminal"]
    return Drive(case, tuple(names), landlock=1)


@pytest.mark.parametrize("wanted", [pytest.param(with_the_oldest(Case("full", user)), id=user) for user in USERS])
def test_the_oldest_landlock_holds_together_with_the_filter(wanted: Drive, drives: Drives) -> None:
    """What it does not know yet (moving between folders, truncation, TCP, devices, signals), seccomp refuses."""
    all_hold(wanted, drives)


@pytest.mark.parametrize(
    ("wanted", "marks"),
    [
        pytest.param(
            Drive(Case("full", USERS[0]), ("n25_tcp",), frozenset({SECCOMP}), landlock=version), marks, id=name
        )
        for name, version, marks in (("no TCP in it", 3, ["tcp"]), ("TCP in it", 4, []))
    ],
)
def test_an_old_landlock_is_really_taken_for_one(wanted: Drive, marks: list[str], drives: Drives) -> None:
    assert drives.seen(wanted)["n25_tcp"].marks == marks


def test_a_machine_that_holds_too_little_is_refused_unless_it_is_accepted() -> None:
    with pytest.raises(AssertionError, match="SandboxTooWeak"):
        drive(Drive(Case("no-read-confinement", "user"), ("b1_plain",), lacks=(("seccomp", "EINVAL"),)))
