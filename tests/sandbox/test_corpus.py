"""Every program of the corpus gets what its header says, each layer is needed, and a missing one is found out.

Drivers (tests/support/drive.py) run the programs; each test here checks what a driver saw of one. What must hold
everywhere: the right verdict, nothing touched but what the header says, no process left, our own memory and the time
kept. Only `just test-all` (--every-level) runs programs at every level; `just test` runs them at the highest one, as
another user only if the header says that the user decides, and a few at the lower levels (HELD).
"""

from __future__ import annotations

import pytest

from localgif.sandbox.protocol import KILL, LANDLOCK, NETWORK, PRIVILEGES, RLIMITS, SECCOMP, WATCH, WRITE_FILTER
from tests.support import corpus, masked
from tests.support.corpus import Case
from tests.support.drive import Job
from tests.support.drivers import CASES, USERS, Drive, Drivers, Machine, check, drive_to_the_end

PROGRAMS = corpus.programs()


@pytest.fixture(scope="session")
def drivers(request: pytest.FixtureRequest) -> Drivers:
    """The drivers that the selected tests need."""
    return Drivers(request.session.items)


def users(drives: dict[str, Drive]) -> list[object]:
    """Drives as parameters; what another user than the first does is left to `just test-all`."""
    return [
        pytest.param(each, id=name, marks=[pytest.mark.full] if each.machine.user != USERS[0] else [])
        for name, each in drives.items()
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" not in metafunc.fixturenames or "case" not in metafunc.fixturenames:
        return
    every = metafunc.config.getoption("every_level")
    metafunc.parametrize(
        ("case", "name"),
        [
            pytest.param(case, name, id=f"{case.level}-{case.user}-{name}")
            for case in CASES
            for name, program in PROGRAMS.items()
            if program.runs_in(case)
            and (every or case.level == CASES[0].level)
            and (every or case.user == CASES[0].user or program.names_a_user)
            and not (masked.ON and case.user in masked.NOT_KEPT.get(name, ()))
        ],
    )


def test_a_program_gets_what_its_header_says(case: Case, name: str, drivers: Drivers) -> None:
    check(PROGRAMS[name], case, drivers.program(case, name))


def test_the_corpus_holds_every_number_of_the_design() -> None:
    numbers = {program.title.split()[0].rstrip("abcdefghijk") for program in PROGRAMS.values()}
    assert {str(n) for n in range(1, 94)} | {f"b{n}" for n in range(1, 12)} <= numbers


def test_every_program_has_a_verdict_wherever_it_runs() -> None:
    """A header without a verdict in some case would be a test that cannot fail."""
    for program in PROGRAMS.values():
        for case in (Case(level, user) for level in corpus.LEVELS for user in corpus.USERS):
            assert not program.runs_in(case) or program.verdicts(case), (program.name, case)


# --- each layer is needed ----------------------------------------------------------------------------------------

#: Layers that are switched off, where, and the programs that the tests must then notice.
PLANTED: list[tuple[set[str], str, str, tuple[str, ...]]] = [
    (
        {LANDLOCK},
        "full",
        "root user",
        ("f01_deletes_a_folder", "f07b_carries_a_secret_out", "f23_writes_shared_memory"),
    ),
    ({SECCOMP}, "full", "root user", ("f04_chmods", "n27_unix_path", "p49b_x32_calls")),
    ({WRITE_FILTER}, "no-read-confinement", "root user", ("f02_overwrites", "f02c_creates_while_opening_to_read")),
    ({RLIMITS}, "full", "root user", ("f17b_one_file_too_large",)),
    ({PRIVILEGES}, "full", "root", ("p48c_ignores_modes",)),
    ({PRIVILEGES}, "limits-only", "root user", ("p48d_says_what_it_may",)),
    ({WATCH}, "full", "root user", ("f16_ten_thousand_files", "f16d_many_bytes_in_many_files")),
    ({KILL}, "limits-only", "root", ("p34c_daemon_without_environment",)),
    # For an ordinary user the kernel's limit on processes comes first.
    ({KILL, RLIMITS}, "limits-only", "user", ("p34c_daemon_without_environment",)),
]


@pytest.mark.parametrize(
    "without",
    users(
        {
            f"{'+'.join(sorted(off))}-{level}-{user}": Drive(level, names, Machine(user), frozenset(off))
            for off, level, planted_users, names in PLANTED
            for user in planted_users.split()
            if user in USERS
        }
    ),
)
def test_a_layer_that_is_switched_off_is_noticed(without: Drive, drivers: Drivers) -> None:
    seen = drivers.seen(without)
    for name in without.names:
        with pytest.raises(AssertionError):
            check(PROGRAMS[name], without.case, seen[name])


#: Programs that reach a listener, and its mark.
REACHING = {"n25_tcp": "tcp", "n26_udp": "udp", "n27b_unix_abstract": "unix"}
REACHED = {user: Drive("limits-only", (*REACHING,), Machine(user)) for user in USERS}


@pytest.mark.parametrize("as_it_is", users(REACHED))
@pytest.mark.parametrize(
    "without", [pytest.param(REACHED[USERS[0]]._replace(off=frozenset({NETWORK})), id="without the layer")]
)
def test_the_network_is_reached_without_its_layer(without: Drive, as_it_is: Drive, drivers: Drivers) -> None:
    """Best effort where seccomp is missing, so the headers promise nothing, and this test compares."""
    assert {name: seen.marks for name, seen in drivers.seen(without).items()} == {n: [m] for n, m in REACHING.items()}
    if any(seen.marks for seen in drivers.seen(as_it_is).values()):
        pytest.skip("this machine offers no network namespace")


SEARCHING = ("o98_environment", "o97b_searches_for_the_environment")


@pytest.mark.parametrize(
    "handed_on", users({user: Drive("full", SEARCHING, Machine(user, leaky=True)) for user in USERS})
)
def test_an_environment_that_is_handed_on_is_noticed(handed_on: Drive, drivers: Drivers) -> None:
    finds, searches = (drivers.seen(handed_on)[name] for name in handed_on.names)
    assert finds.marks == ["secret"]
    assert "found 1 times" in searches.reason


# --- a machine that lacks a layer --------------------------------------------------------------------------------

#: At each level: things that it still holds, and one that works.
HELD = {
    "no-read-confinement": ("b1_plain", "f01_deletes_a_folder", "f04_chmods", "n25_tcp", "p38b_kills_its_parent"),
    "weak": ("b2_replace", "f01_deletes_a_folder", "f07b_carries_a_secret_out", "f04_chmods", "p38_kills"),
    "limits-only": ("b2_replace", "f02_overwrites", "r51_spins", "o76_junk_with_magic"),
}
#: What a kernel lacks, how it says so, and the level that is left.
LACKING = [
    ({"landlock": "ENOSYS"}, "no-read-confinement"),
    ({"landlock": "EOPNOTSUPP"}, "no-read-confinement"),
    ({"landlock": "EPERM"}, "no-read-confinement"),
    ({"seccomp": "EINVAL"}, "weak"),
    ({"landlock": "ENOSYS", "seccomp": "EINVAL"}, "limits-only"),
]


def with_the_oldest(user: str) -> Drive:
    names = [name for name, program in PROGRAMS.items() if name[0] in "fnb" and program.runs_in(Case("full", user))]
    names += ["p36b_execs_itself_away", "p38_kills", "p40_signal_by_descriptor", "p40c_types_into_a_terminal"]
    return Drive("full", tuple(names), Machine(user, landlock=1))


@pytest.mark.parametrize(
    "wanted",
    users(
        {
            f"{'+'.join('-'.join(pair) for pair in lacks.items())}-{user}": Drive(
                level, HELD[level], Machine(user, tuple(lacks.items()))
            )
            for lacks, level in LACKING
            for user in USERS
        }
        | {f"landlock-1-{user}": with_the_oldest(user) for user in USERS}
    ),
)
def test_a_kernel_without_a_layer_is_found_out_and_the_rest_holds(wanted: Drive, drivers: Drivers) -> None:
    """The driver fails unless localgif finds this very level; then programs run as they do in a run.

    The oldest Landlock stays at level full: seccomp refuses what it does not know yet (moving between folders,
    truncation, TCP, devices, signals).
    """
    found = drivers.seen(wanted)
    assert set(found) == set(wanted.names)
    for name, seen in found.items():
        check(PROGRAMS[name], wanted.case, seen)


@pytest.mark.parametrize(
    ("wanted", "marks"),
    [
        (Drive("full", ("n25_tcp",), Machine(USERS[0], landlock=version), frozenset({SECCOMP})), marks)
        for version, marks in ((3, ["tcp"]), (4, []))
    ],
    ids=["no TCP in it", "TCP in it"],
)
def test_an_old_landlock_is_really_taken_for_one(wanted: Drive, marks: list[str], drivers: Drivers) -> None:
    assert drivers.seen(wanted)["n25_tcp"].marks == marks


def test_a_machine_that_holds_too_little_is_refused_unless_it_is_accepted() -> None:
    with pytest.raises(AssertionError, match="SandboxTooWeak"):
        drive_to_the_end(Machine("user", (("seccomp", "EINVAL"),)), [Job("no-read-confinement", (), "b1_plain")])
