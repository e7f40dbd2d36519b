"""The line of every key of a TOML text, whatever stands around it: comments, long strings, arrays, inline tables."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localgif.models.toml import Location, key_lines, line_of

BARE = st.text("abcXYZ019_-", min_size=1, max_size=6)
#: Names that look like something else when the quotes are overlooked.
AWKWARD = st.text("ab.=[]#'\"\\ é\t", max_size=5)


def quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'


KEYS = st.one_of(BARE.map(lambda n: (n, n)), AWKWARD.map(lambda n: (n, quoted(n))))
TRICKS = st.sampled_from(["", "[x]", "a = 1", "# no comment", "''", '\\"\\"', "]", "}", "\n[y]\nb = 2\n", "\\\\"])
LONG = TRICKS.map(lambda t: f'"""{t}"""') | TRICKS.map(lambda t: f"'''{t.replace(chr(39), '')}'''")
SHORT = TRICKS.map(lambda t: '"' + t.replace("\n", " ") + '"')
SCALARS = st.sampled_from(["1", "-0.5e3", "true", "1979-05-27 07:32:00", "inf", "0xf", "''", '""'])
PLAIN = st.one_of(SCALARS, SHORT, LONG)


def array(values: list[str]) -> str:
    return "[ # of several lines\n" + "".join(f"  {value}, # one\n" for value in values) + "]"


def inline(entries: dict[str, str]) -> str:
    return "{" + ", ".join(f"{quoted(name)} = {value}" for name, value in entries.items()) + "}"


ONE_LINE = st.one_of(SCALARS, SHORT)
VALUES = st.one_of(
    PLAIN,
    st.lists(PLAIN, max_size=3).map(array),
    st.dictionaries(AWKWARD, ONE_LINE, max_size=3).map(inline),
)
NOISE = st.sampled_from(["", "\n", "# [no] table = 1\n", "   \n\t# x\n", "\r\n"])
END = st.sampled_from(["\n", "  # behind\n", "\r\n"])
STATEMENTS = st.lists(st.tuples(NOISE, KEYS, VALUES, END), max_size=4)
TABLES = st.lists(st.tuples(NOISE, st.lists(KEYS, min_size=1, max_size=3), STATEMENTS), max_size=4)


@given(STATEMENTS, TABLES)
def test_each_key_is_found_on_its_line(top: Any, tables: Any) -> None:
    text = ""
    expected: dict[Location, int] = {}

    def write(noise: str, location: Location, written: str) -> None:
        nonlocal text
        text += noise
        for length in range(1, len(location) + 1):
            expected.setdefault(location[:length], text.count("\n") + 1)
        text += written

    for noise, (name, key), value, end in top:
        write(noise, (name,), f"{key} = {value}{end}")
    for noise, keys, statements in tables:
        location = tuple(name for name, _ in keys)
        write(noise, location, f"[ {' . '.join(key for _, key in keys)} ]\n")
        for before, (name, key), value, end in statements:
            write(before, (*location, name), f"{key}={value}{end}")
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # a name twice
    found = key_lines(text)
    assert {location: found.get(location) for location in expected} == expected


def locations(value: Any, above: Location = ()) -> set[Location]:
    """Every key and every element of what tomllib made of a text."""
    found: set[Location] = set()
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        found |= {(*above, key)} | locations(inner, (*above, key))
    return found


@given(STATEMENTS)
def test_nothing_is_found_that_tomllib_does_not_see_and_nothing_is_missed(statements: Any) -> None:
    text = "".join(f"{noise}{key} = {value}{end}" for noise, (_, key), value, end in statements)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(key_lines(text)) == locations(data)


def test_dotted_keys_arrays_of_tables_and_the_end_of_the_file() -> None:
    text = "a.b = 1\na.c.'d.e' = [\n 1,\n {f = 2}]\n\n[[g]]\nh = 1\n[[g]]\nh = 2"
    lines = key_lines(text)
    assert lines[("a",)] == lines["a", "b"] == 1
    assert (lines["a", "c", "d.e"], lines["a", "c", "d.e", 0], lines["a", "c", "d.e", 1, "f"]) == (2, 3, 4)
    assert (lines[("g",)], lines["g", "h"]) == (6, 7), "the first of several"


def test_the_nearest_table_around_a_key_that_is_not_there() -> None:
    lines = key_lines("[a]\n[a.b]\nc = 1\n")
    assert line_of(lines, ("a", "b", "missing")) == 2
    assert line_of(lines, ("a", "b", "c", 3)) == 3
    assert line_of(lines, ("z",)) is None
