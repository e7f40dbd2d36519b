"""Every program of the corpus, at every level that this machine offers, as root and as an ordinary user.

The programs are run by drivers (drive.py), one for each level and user, two at a time; each test here looks at what one
driver saw of one program. What must hold everywhere: the right verdict, nothing touched but what the header says, no
process left, our own memory and the time kept.
"""

from __future__ import annotations

import pytest

from tests.sandbox import corpus
from tests.sandbox.cases import CASES, Cases, check

PROGRAMS = corpus.programs()


@pytest.fixture(scope="session")
def cases(request: pytest.FixtureRequest) -> Cases:
    """The drivers; each runs only what was selected."""
    return Cases(request.session.items)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        pytest.param(case, name, id=f"{case.level}-{case.user}-{name}")
        for case in CASES
        for name, program in PROGRAMS.items()
        if program.runs_in(case)
    ],
)
def test_a_program_gets_what_its_header_says(case: corpus.Case, name: str, cases: Cases) -> None:
    check(PROGRAMS[name], case, cases.seen(case, name))


def test_the_corpus_holds_every_number_of_the_design() -> None:
    numbers = {program.title.split()[0].rstrip("abcdefghijk") for program in PROGRAMS.values()}
    assert {str(n) for n in range(1, 94)} | {f"b{n}" for n in range(1, 12)} <= numbers


def test_every_attack_succeeds_somewhere_or_is_refused_everywhere() -> None:
    """A header without a verdict in some case would be a test that cannot fail."""
    for program in PROGRAMS.values():
        for level in corpus.LEVELS:
            for user in corpus.USERS:
                case = corpus.Case(level, user)
                assert not program.runs_in(case) or program.verdicts(case), (program.name, case)
