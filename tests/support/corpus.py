"""The corpus: programs whose header states the expected outcome. Pure.

The header is the block of comments at the top of a file. Its first line is the number of the program in the design and
its name. The other lines are `key: value`, or `key(word word): value` for some levels or users only:

    # 4 chmod 000 on somebody's file
    # verdict: error
    # verdict(weak limits-only): output_missing
    # says(full no-read-confinement): PermissionError
    # hits(weak limits-only): canary

The last line that fits a case counts. The keys:

verdict  the verdicts that are right, at least one
says     what the reason must contain; " | " between alternatives
hits     what the program gets at, exactly: reaching it where nothing stops it proves that it is an attack
may      what it may or may not get at, depending on the kernel's settings
measured why a GIF that was taken cannot be measured (part of the reason); without this key it can be measured
only     the levels and users at which it runs at all
machine  the only machine (uname -m) for which it is written
limits   "brief" for a program that only waits, "roomy" for one that needs CPU to fill memory or to be decoded
after    another program, with the token in a comment, runs in the same keeper before it
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from localgif.records import Limits, Verdict

FOLDER = Path(__file__).parent.parent / "corpus"
LEVELS = ("full", "no-read-confinement", "weak", "limits-only")
USERS = ("root", "user")
KEYS = ("verdict", "says", "hits", "may", "measured", "only", "machine", "limits", "after")
#: What a program can get at; see stage.py.
MARKS = frozenset({"canary", "secret", "tcp", "udp", "unix", "victim", "files", "shm", "segment", "queue"})

#: Small, so that a program that hits one does so soon.
SMALL = Limits(cpu_seconds=0.5, wall_seconds=10.0, address_space=400 * 2**20, rss=300 * 2**20)
#: For programs that only wait.
BRIEF = SMALL.model_copy(update={"wall_seconds": 1.0})
#: For programs that must hit a memory limit before the limit of the CPU that they need to fill it, and for the slowest
#: GIF, which takes just over half a second to decode on a busy machine.
ROOMY = SMALL.model_copy(update={"cpu_seconds": 3.0, "wall_seconds": 20.0})
LIMITS = {"brief": BRIEF, "roomy": ROOMY}

_LINE = re.compile(r"(?P<key>[a-z]+)(?:\((?P<words>[^)]+)\))?: (?P<value>.+)")
_REPEAT = re.compile(r"@REPEAT (\d+) ([^@]+)@")


class Case(NamedTuple):
    """Where a program runs."""

    level: str
    user: str


class Rule(NamedTuple):
    """One line of a header."""

    key: str
    words: frozenset[str]
    value: str

    def fits(self, case: Case) -> bool:
        levels, users = self.words & set(LEVELS), self.words & set(USERS)
        return (not levels or case.level in levels) and (not users or case.user in users)


@dataclass(frozen=True)
class Program:
    """A file of the corpus."""

    path: Path
    title: str
    rules: tuple[Rule, ...]

    @property
    def name(self) -> str:
        return self.path.name.split(".")[0]

    @property
    def limits(self) -> Limits:
        return next((LIMITS[rule.value] for rule in self.rules if rule.key == "limits"), SMALL)

    @property
    def names_a_user(self) -> bool:
        """Whether something in its header depends on the user who runs it."""
        named = (rule.words.union(rule.value.split() if rule.key == "only" else ()) for rule in self.rules)
        return any(words & {*USERS} for words in named)

    def runs_in(self, case: Case) -> bool:
        for rule in self.rules:
            if rule.key == "machine" and rule.value != platform.machine():
                return False
            if rule.key == "only" and not Rule("only", frozenset(rule.value.split()), "").fits(case):
                return False
        return True

    def get(self, key: str, case: Case) -> str:
        """The value of `key` in this case, or an empty string."""
        return next((rule.value for rule in reversed(self.rules) if rule.key == key and rule.fits(case)), "")

    def verdicts(self, case: Case) -> set[Verdict]:
        return {Verdict(word) for word in self.get("verdict", case).split()}

    def source(self, places: dict[str, str]) -> str:
        """The program, with the things of a test in the place of @NAME@."""
        text = self.path.read_text()
        for name, value in places.items():
            text = text.replace(f"@{name}@", value)
        text = text.replace("@NUL@", "\0")
        return _REPEAT.sub(lambda match: int(match[1]) * match[2], text)


def parse(path: Path) -> Program:
    """Reads a header.

    Raises:
        ValueError: It is not one.
    """
    comments = []
    for line in path.read_text().splitlines():
        if not line.startswith("# "):
            break
        comments.append(line.removeprefix("# "))
    if not comments or not re.match(r"b?\d+[a-z]? \S", comments[0]):
        raise ValueError(f"{path.name}: the first line is no number and name")
    rules = []
    for line in comments[1:]:
        match = _LINE.fullmatch(line)
        if not match or match["key"] not in KEYS:
            raise ValueError(f"{path.name}: not understood: {line}")
        words = frozenset((match["words"] or "").split())
        if not words <= {*LEVELS, *USERS}:
            raise ValueError(f"{path.name}: neither a level nor a user: {line}")
        if match["key"] in ("hits", "may") and not set(match["value"].split()) <= MARKS:
            raise ValueError(f"{path.name}: nothing to hit: {line}")
        if match["key"] == "limits" and match["value"] not in LIMITS:
            raise ValueError(f"{path.name}: no such limits: {line}")
        rules.append(Rule(match["key"], words, match["value"]))
    return Program(path, comments[0], tuple(rules))


def programs() -> dict[str, Program]:
    """The whole corpus by name."""
    files = sorted([*(FOLDER / "hostile").iterdir(), *(FOLDER / "benign").iterdir()])
    return {program.name: program for program in map(parse, files)}
