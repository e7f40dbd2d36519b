"""Mutated replies, programs, sentences, server events and GIFs, against everything that reads them.

`just check fuzz 30` runs for 30 minutes. An input is a finding if a reader raises anything but a refusal, takes more
than `SLOW` seconds or `MEMORY` bytes, crashes the interpreter, or breaks a promise such as "a canonical program stays
as it is". Inputs that reach a new line of localgif are kept and mutated further. A worker process reads, so that a
crash ends only that process. The exit code is 1 if there was a finding.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, AnyStr

from localgif.agent import extract, form, prompts
from localgif.agent.extract import parsed
from localgif.agent.graph import enough
from localgif.endpoint.ollama_reply import cut_silently, error_text, overflow_words, read_delta
from localgif.endpoint.ollama_request import ApiError, parse_object, read_call
from localgif.endpoint.received import Joined, read_json, texts
from localgif.endpoint.thoughts import Thoughts, spoken
from localgif.errors import ConfigError
from localgif.files import parse_toml
from localgif.gif import measure, score, sheet
from localgif.gif.score import RULES
from localgif.records import Measurements, Verdict
from localgif.sandbox.intake import BadGif, first_frame, walk_gif
from localgif.sandbox.text import printable, stable
from localgif.search import number_search, reflector
from localgif.search.assignments import first_scene, glimpse
from localgif.search.feedback import likely, sample_feedback
from localgif.search.programs import canonical, foreign_imports, with_imports
from localgif.tasks import sentence
from localgif.tasks.outline import outline
from localgif.tasks.task import load_task, parse_task, sentence_of, task_names, toml_of
from tests.support.ground import raw_gif

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus"

#: CPU seconds and bytes that reading one input may take. Inputs have at most LONGEST characters.
SLOW, MEMORY, LONGEST = 2.0, 2 * 2**30, 60_000
#: So many findings of one kind are kept.
_EACH = 3
_TASKS = [load_task(name) for name in task_names()]
_TASK = load_task("orbiting-ball")
_DRAWN = Measurements(
    width=200, height=200, size=5000, loop=0, frames=3, delays_ms=(40, 40, 40), motion=0.1, gap=0.1, colours=2,
    distinct_frames=3, steps=(0.1, 0.1), ink=(0.1, 0.2, 0.3), colour_steps=(0.1, 0.1, 0.0),
)  # fmt: skip


# --- readers ---------------------------------------------------------------------------------------------------------


def read_reply(text: str) -> None:
    code = extract.extract(text)
    assert code is None or code.strip(), "an empty program"
    assert not extract.complete(text) or code is not None, "complete, but without a program"
    enough(text)
    extract.programs(text)
    for finish in ("stop", "length"):
        reflector.read_program(text, finish)
        reflector.read_rule(text, finish, ["Draw 24 frames."], "Save to path.", _TASK.targets)
    reflector.labelled(text)
    cut = Thoughts()
    middle = len(text) // 2
    pieces = [cut.feed(text[:middle]), cut.feed(text[middle:]), cut.end()]
    whole = Thoughts()
    assert "".join(said for said, _ in pieces) == "".join(said for said, _ in (whole.feed(text), whole.end()))
    spoken(text)
    stable(printable(text))
    cut_silently(text, len(text))


def read_program(text: str) -> None:
    plain = canonical(text)
    if plain is not None:
        assert canonical(plain) == plain, "the canonical form of a canonical program differs"
    foreign_imports(text)
    with_imports(text)
    likely(text, _DRAWN, frozenset({"cycle", "visible"}))
    form.uses(text)
    form.whole(text)
    form.frame(text)
    scene = form.read(text)
    if scene is not None:
        again = form.program(scene, _TASK.brief, _TASK.targets)
        assert parsed(again) is not None, "the form of a program does not parse"
    glimpse(text, _TASK)
    number_search.numbers(text)
    for change in itertools.islice(number_search.proposals(text, _TASK.targets), 4):
        assert parsed(number_search.changed(text, change)) is not None, "a changed number breaks the program"


def read_sentence(text: str) -> None:
    sentence.is_sentence(text)
    with contextlib.suppress(ConfigError):
        sentence.read(text)
    text = text[: sentence.LONGEST]
    first_scene(text)
    if (drawn := outline(text)) is not None:
        prompts.shortened(text, drawn)
    with contextlib.suppress(ConfigError):
        found = sentence.read(text)
        sentence_of(found.task)
        sentence.differences(found.task)
        again = parse_task(toml_of(found.task), found.task.name, "toml")
        assert again == found.task, "a task is not read back as it was written"


def read_event(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()  # as it comes from a server
    with contextlib.suppress(ApiError):
        read_delta(text)
    with contextlib.suppress(ValueError):
        json.dumps(read_json(text)).encode()
        said, thought = texts(read_json(text, halves=True))
        joined = Joined()
        (joined.feed(said) + joined.feed(thought, last=True)).encode()
    overflow_words(error_text(text)).encode()
    with contextlib.suppress(ApiError):
        call = read_call("chat", parse_object(text.encode("utf-8", "replace")))
        json.dumps(call.body)


def read_table(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_toml(text, "x.toml", "E-CONFIG")
    with contextlib.suppress(ConfigError):
        parse_task(text, "x", "x.toml")


def read_gif(data: bytes) -> None:
    with contextlib.suppress(BadGif):
        header = walk_gif(data)
        first_frame(data)
        with contextlib.suppress(ValueError):
            found = Measurements.model_validate_json(json.dumps(measure.main(data)), strict=True)
            assert (found.width, found.height) == (header.width, header.height), "the decoder sees another screen"
            for task in _TASKS:
                for rule in RULES:
                    judged = score.of(rule, found, task)
                sample_feedback(task.brief, found, judged, Verdict.OK, "")
        with contextlib.suppress(ValueError):
            sheet.main(data)


# --- inputs ----------------------------------------------------------------------------------------------------------

#: Pieces to insert, with a blank as \x20.
_PYTHON = r"""
( ) [ ] { } , : = == += ** // -> @ . ... ; \\ ' " ''' # \t \n \r \f \0 0 1 -1 1.5 1e400 0x 1_0 1j 9999999999999999999999
None True lambda if else for in while def class return yield await async import from as try except with match case
def\x20make_gif(path):\n\x20\x20\x20\x20 f" f'{ {x!r:>{y}} b" r" u" (a:=1) *a **a print( range( .save( Image.new(
draw.ellipse( duration= fill= append_images= paint( canvas( fade( color\x20=\x20 t\x20=\x20 x,\x20y\x20=\x20 {1:2}
{[]} [i\x20for\x20i\x20in\x20x] \u2028 \x85 \ud83d \ufeff \u202e \xe9 \U0001d4b3
"""
_REPLY = r"""
``` ```python\n ~~~ ` <think> </think> [THINK] [/THINK] <|channel|> <|message|> <|channel> Rule: analysis < [
assistantfinal <plan> </plan> \u25c1think\u25b7 \u25c1/think\u25b7 <| |> def\x20make_gif(path):\n \n \x20\x20\x20\x20
24\x20frames duration\x2040 pip\x20install \x1b[31m \x1b]0; \r\n \0 \ud83d at\x200x7f01
"""
_JSON = r"""
{" ": [ ] { } , null true NaN Infinity -1 1e999 000000000000000000 "\\ud83d" \\u0000 "choices" "delta" "content" 5m
"error" "message" "code" "usage" \u2028 \x85 "thinking" "finish_reason" "messages" "model" "options" "keep_alive"
"maximum\x20context\x20length\x20is\x2010\x20tokens" "detail" "choices":[]
"""
_TOML = r"""
[ ] [[ ]] = . " ' ''' { } , \n # a a. 1e999 99999999999999999999999999 inf nan subjects brief targets frames count
shape hues 1979-05-27 \\u0000 -
"""
_WORDS = r"12 0.5 - , ' \u2014 \xe9 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
_GIF = r"""
\x21\xf9\x04\x00\x04\x00\x00\x00 \x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00 \x2c \x3b \x00 \xff \x21\xfe \x02
\x2c\x00\x00\x00\x00\x08\x00\x08\x00\x87 \xff\xff GIF89a \x08 \x21\x01\x0c
"""


def _pieces(words: str) -> list[str]:
    return [word.encode().decode("unicode_escape") for word in words.split()]


def _texts_of(*patterns: str) -> list[str]:
    return [path.read_text() for pattern in patterns for path in sorted(CORPUS.glob(pattern))]


def _seeds() -> dict[str, tuple[Callable[[Any], None], list[Any], list[Any]]]:
    """Kind -> its reader, its first inputs, and pieces to insert."""
    briefs = [row["text"] for row in tomllib.loads((CORPUS / "briefs.toml").read_text())["briefs"]]
    programs = [form.program(first_scene(brief), brief, _TASK.targets) for brief in briefs[:4]]
    programs += _texts_of("benign/*.py", "hostile/f0*.py")
    replies = [json.loads(text)["reply"] for text in _texts_of("replies/*.json")]
    replies += [f"Here:\n```python\n{code}```\n" for code in programs[:6]]
    words = [f" {word} " for word in sorted({word for brief in briefs for word in brief.split()})]
    events: list[Any] = [
        {"choices": [{"delta": {"content": [{"text": "a"}]}, "finish_reason": "stop"}], "usage": {"x": 1}},
        {"error": {"code": 400, "message": "maximum context length is 8 tokens, 9 tokens in the messages"}},
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "options": {"seed": 1}, "think": "low"},
    ]
    tables = [path.read_text() for path in sorted((ROOT / "localgif" / "tasks").glob("*.toml"))]
    gifs = [path.read_bytes() for path in sorted(CORPUS.glob("gifs*/*.gif")) if path.stat().st_size < 20_000]
    return {
        "reply": (read_reply, replies, _pieces(_REPLY + _PYTHON)),
        "program": (read_program, programs, _pieces(_PYTHON)),
        "sentence": (read_sentence, briefs, words + _pieces(_WORDS)),
        "event": (read_event, list(map(json.dumps, events)), _pieces(_JSON)),
        "table": (read_table, tables, _pieces(_TOML)),
        "gif": (read_gif, [raw_gif(20, 10, frames=3), *gifs], [each.encode("latin-1") for each in _pieces(_GIF)]),
    }


def mutated(value: AnyStr, pool: list[AnyStr], pieces: list[AnyStr], dice: random.Random) -> AnyStr:
    """The value after a few random changes."""
    for _ in range(dice.choice((1, 1, 2, 3, 6))):
        start = dice.randint(0, len(value))
        end = min(len(value), start + int(2 ** dice.uniform(0, 9)))
        piece = dice.choice(pieces)
        how = dice.randrange(9)
        if how == 0:
            value = value[:start] + value[end:]
        elif how == 1:
            value = value[:start] + piece + value[start:]
        elif how == 2:
            value = value[:start] + piece + value[end:]
        elif how == 3:  # much of the same
            value = value[:start] + piece * int(2 ** dice.uniform(0, 13)) + value[start:]
        elif how == 4:
            value = value[:end] + value[start:end] * int(2 ** dice.uniform(0, 8)) + value[end:]
        elif how == 5:
            other = dice.choice(pool)
            begin = dice.randint(0, len(other))
            value = value[:start] + other[begin : begin + int(2 ** dice.uniform(0, 11))] + value[end:]
        elif how == 6:  # one inside the other
            times = int(2 ** dice.uniform(0, 9))
            value = value[:start] + piece * times + value[start:end] + dice.choice(pieces) * times + value[end:]
        elif how == 7 and start < len(value):  # one unit
            unit = chr(dice.choice((0, 9, 13, 34, 92, 127, 133, 0x2028, 0xD83D, dice.randrange(0x3000))))
            raw = unit if isinstance(value, str) else bytes([dice.randrange(256)])
            value = value[:start] + raw + value[start + 1 :]
        else:
            value = value[: dice.randint(0, len(value))] if dice.random() < 0.1 else value
        value = value[:LONGEST]
    return value


# --- the worker ------------------------------------------------------------------------------------------------------

_PACKAGE = f"{ROOT / 'localgif'}{os.sep}"


class Lines:
    """Which lines of localgif have run so far."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()

    def _on_call(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._on_line if frame.f_code.co_filename.startswith(_PACKAGE) else None

    def _on_line(self, frame: FrameType, event: str, argument: object) -> Any:
        self.seen.add((frame.f_code.co_filename, frame.f_lineno))
        return self._on_line

    def new(self, call: Callable[[], object]) -> bool:
        """Whether a call reaches lines that none before it reached."""
        before = len(self.seen)
        sys.settrace(self._on_call)
        try:
            call()
        finally:
            sys.settrace(None)
        return len(self.seen) > before


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def work(folder: Path, number: int, until: float) -> int:
    """Read mutated inputs until the end or a finding, whose name and words go into `folder`; the number of inputs."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    dice, lines, count = random.Random(f"{number} {time.time_ns()}"), Lines(), 0
    kinds = _seeds()
    for kind, (_, pool, _) in kinds.items():
        for path in (folder / "pool" / kind).iterdir():
            data = path.read_bytes()
            pool.append(data if kind == "gif" else data.decode("utf-8", "surrogatepass"))
    while time.monotonic() < until:
        kind = dice.choice(list(kinds))
        read, pool, pieces = kinds[kind]
        value = mutated(dice.choice(pool), pool, pieces, dice)
        (folder / "current").write_bytes(kind.encode() + b"\n" + _bytes(value))
        signal.setitimer(signal.ITIMER_VIRTUAL, 30)  # SIGVTALRM ends this process: the parent keeps the input
        began = time.thread_time()
        if lines.new(lambda read=read, value=value: read(value)):  # type: ignore[misc]
            pool.append(value)
            name = hashlib.sha256(_bytes(value)).hexdigest()[:16]
            (folder / "pool" / kind / name).write_bytes(_bytes(value))
        if time.thread_time() - began > SLOW / 2:  # the tracing takes time, too
            began = time.thread_time()
            read(value)
            assert time.thread_time() - began < SLOW, f"slow: {time.thread_time() - began:.1f} s"
        count += 1
        if count % 1000 == 0:
            (folder / "count").open("a").write("1000\n")
    return count


def _worker(folder: Path, number: int, until: float) -> int:
    """Fork a worker; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(folder, number, until)
            status = 0
        except BaseException:
            (folder / "words").write_text(traceback.format_exc(limit=-6))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def findings(folder: Path, minutes: float) -> Iterator[tuple[str, str]]:
    """(kind and place, words) of each finding; its input is in `folder`."""
    until = time.monotonic() + 60 * minutes
    for kind in _seeds():
        (folder / "pool" / kind).mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        if time.monotonic() >= until:
            return
        (folder / "words").unlink(missing_ok=True)
        status = _worker(folder, number, until)
        if status == 0:
            return
        head, _, data = (folder / "current").read_bytes().partition(b"\n")
        words = (folder / "words").read_text() if (folder / "words").exists() else f"ended by signal {-status}"
        place = next((line.strip() for line in reversed(words.splitlines()) if "localgif" in line), "")
        found = f"{head.decode()}: {words.splitlines()[-1][:200]} {place}"
        name = hashlib.sha256(data).hexdigest()[:8]
        (folder / f"finding-{head.decode()}-{name}").write_bytes(data)
        yield found, words


def main(minutes: float, folder: Path) -> int:
    seen: Counter[str] = Counter()
    for found, words in findings(folder, minutes):
        seen[found] += 1
        if seen[found] <= _EACH:
            print(f"{found}\n{words}", flush=True)
    counted = folder / "count"
    inputs = sum(map(int, counted.read_text().split())) if counted.exists() else 0
    kept = {kind.name: len(list(kind.iterdir())) for kind in (folder / "pool").iterdir()}
    print(f"{inputs:,} inputs in {minutes:g} minutes; kept {kept}; {len(seen)} kinds of findings, inputs in {folder}")
    return 1 if seen else 0


if __name__ == "__main__":
    given = sys.argv[1:]
    place = Path(given[1]) if len(given) > 1 else Path(tempfile.mkdtemp(prefix="localgif-fuzz-"))
    sys.exit(main(float(given[0]) if given else 30.0, place))
