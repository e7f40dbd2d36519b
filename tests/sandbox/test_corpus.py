"""Every program of the corpus, as root and as an ordinary user, at the best level of this machine and at each other
level where its header says that the level decides; with --every-level (`just test-all`) at every level.

The programs are run by drivers (drive.py), one for each level and user, two at a time; each test here looks at what one
driver saw of one program. What must hold everywhere: the right verdict, nothing touched but what the header says, no
process left, our own memory and the time kept.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox import corpus
from tests.sandbox.cases import CASES, Cases, check

PROGRAMS = corpus.programs()


@pytest.fixture(scope="session")
def cases(request: pytest.FixtureRequest) -> Cases:
    """The drivers; each runs only what was selected."""
    return Cases(request.session.items)


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
            # Below the first level only what the level decides, unless all is asked for: the rest is decided by limits
            # and the watch, which are the same everywhere.
            if program.runs_in(case) and (every or case.level == CASES[0].level or program.differs_by_level)
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


def test_the_last_line_that_fits_counts(tmp_path: Path) -> None:
    path = tmp_path / "p1_x.py"
    path.write_text(
        "# 1 a name\n# verdict: error\n# verdict(weak root): ok\n# hits(user): canary udp\npass\n# verdict: ok\n"
    )
    program = corpus.parse(path)
    assert program.get("verdict", corpus.Case("weak", "root")) == "ok"
    assert program.get("verdict", corpus.Case("weak", "user")) == "error"
    assert program.get("hits", corpus.Case("full", "user")) == "canary udp"
    assert program.get("hits", corpus.Case("full", "root")) == ""


@pytest.mark.parametrize(
    "header",
    ["", "# no number", "# 1 a name\n# verdcit: ok", "# 1 a name\n# verdict(fulll): ok", "# 1 a name\n# hits: moon"],
)
def test_a_header_with_a_slip_in_it_is_refused(header: str, tmp_path: Path) -> None:
    (tmp_path / "p1_x.py").write_text(f"{header}\npass\n")
    with pytest.raises(ValueError, match="p1_x"):
        corpus.parse(tmp_path / "p1_x.py")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200), st.booleans())
def test_any_text_is_a_header_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str, started: bool) -> None:
    path = tmp_path_factory.mktemp("header") / "p1_x.py"
    path.write_text(f"# 1 a name\n# {text}" if started else text)
    try:
        program = corpus.parse(path)
    except ValueError as error:
        assert "p1_x" in str(error)
    else:
        assert all(rule.key in corpus.KEYS for rule in program.rules)


def test_what_stands_for_things_is_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "p1_x.py"
    path.write_text('x = "@CANARY@@NUL@@REPEAT 3 ab@"')
    assert corpus.Program(path, "", ()).source({"CANARY": "/c"}) == 'x = "/c\0ababab"'
