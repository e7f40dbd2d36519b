"""Runs and measures each program of a run once, whoever wrote it, and draws contact sheets of the GIFs.

The sandbox fixes every seed, so a program always draws the same GIF and its outcome is remembered; a resumed run finds
it in its journal. Verdicts that a loaded machine can cause are not remembered.
"""

from __future__ import annotations

import ast
import base64
import builtins
import dataclasses
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from localgif.agent.extract import MOST_TEXT, parsed
from localgif.agent.graph import Rendered
from localgif.files import content_hash
from localgif.gif import MEASURE, SHEET, score
from localgif.records import Limits, Sample, Score, Verdict
from localgif.sandbox.runner import measure_gif, picture_gif, run_program
from localgif.store.log import ProgramRun
from localgif.store.write import RunStore
from localgif.tasks.task import Task

#: What a worked example may import: the contract allows the standard library and Pillow.
LIBRARIES = frozenset(sys.stdlib_module_names) | {"PIL"}


def render(code: str, limits: Limits) -> Rendered:
    """Run a program in the sandbox and measure its GIF in a second confined process.

    Raises:
        SandboxError: The sandbox failed.
    """
    started = time.monotonic()
    result = run_program(code, limits)
    verdict, reason, gif, measurements = result.verdict, result.reason, result.gif, None
    if gif is not None:
        measured = measure_gif(gif, MEASURE, limits)
        if isinstance(measured, str):
            verdict, reason, gif = Verdict.OUTPUT_BAD, measured, None
        else:
            measurements = measured
    return Rendered(verdict, reason, gif, measurements, time.monotonic() - started)


def canonical(code: str) -> str | None:
    """The program without comments and docstrings, uniformly formatted; None if it, or this form of it, does not parse
    within bounds. The canonical form of a canonical form is itself."""
    tree = parsed(code)
    try:
        plain = "" if tree is None else ast.unparse(_without_docstrings(tree)) + "\n"
    except (ValueError, RecursionError, MemoryError):
        return None
    return plain if 0 < len(plain) <= MOST_TEXT else None


def foreign_imports(code: str) -> tuple[str, ...]:
    """Packages that a program imports and the contract does not allow, sorted."""
    found: set[str] = set()
    for node in ast.walk(parsed(code) or ast.Module([], [])):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return tuple(sorted(found - LIBRARIES))


#: Modules of Pillow that programs use under their own names.
_PILLOW = frozenset(
    {"Image", "ImageChops", "ImageColor", "ImageDraw", "ImageEnhance", "ImageFilter", "ImageFont", "ImageOps"}
    | {"ImagePath", "ImageSequence"}
)


def with_imports(code: str) -> str:
    """The program with an import for each module of Pillow or the standard library that it uses but never binds.

    Only `name.something` counts as a use: `math.cos` needs math; a forgotten variable `copy` does not need copy. A
    program that does not parse is returned unchanged.
    """
    tree = parsed(code)
    if tree is None:
        return code
    bound = set(dir(builtins))
    used: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name, ctx=ast.Load())):
                used.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound.update(alias.asname or alias.name.split(".")[0] for alias in names)
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case _:
                pass
    if "*" in bound:
        return code
    missing = used - bound
    pillow = sorted(missing & _PILLOW)
    lines = [f"import {name}" for name in sorted(missing & sys.stdlib_module_names)]
    if pillow:
        lines.append(f"from PIL import {', '.join(pillow)}")
    if not lines:
        return code
    future = [n.end_lineno or 0 for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    place = max(future, default=0)
    own = code.split("\n")
    return "\n".join([*own[:place], *lines, *own[place:]])


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            while ast.get_docstring(node, clean=False) is not None:  # a string after a docstring becomes one
                node.body = node.body[1:] or [ast.Pass()]
    return tree


#: Score deduction for a flicker when programs are compared.
FLICKER = 0.1


@dataclass(frozen=True)
class Trial:
    """A program, its outcome and its score."""

    code: str
    rendered: Rendered
    score: Score

    @property
    def moves(self) -> bool:
        """Whether its GIF has at least two different frames."""
        measured = self.rendered.measurements
        return measured is not None and measured.distinct_frames > 1

    @property
    def flickers(self) -> bool:
        """Whether fewer than a third of its GIF's frames are distinct, so that it jumps back and forth."""
        measured = self.rendered.measurements
        return measured is not None and 3 * measured.distinct_frames < measured.frames

    @property
    def rank(self) -> tuple[float, float, int]:
        """Sort key of programs: score, then the weighted mean of the parts (many totals are 0), then the shorter text.
        A flicker costs 0.1 because the article's score cannot see it: two alternating pictures are 24 frames that move
        and close their loop."""
        weights = sum(part.weight for part in self.score.parts) or 1.0
        parts = sum(part.weight * part.value for part in self.score.parts) / weights
        return (self.score.total - (FLICKER if self.flickers else 0.0), parts, -len(self.code))


#: Runs and scores a few programs in parallel; returns their trials in order.
Measure = Callable[[Sequence[str]], Sequence[Trial]]
#: Searches from a program for a better one.
Find = Callable[[Trial, Measure], Trial]


class Programs:
    """Runs programs and remembers their outcomes, in memory and in the run folder."""

    def __init__(self, store: RunStore) -> None:
        self.seconds = store.journal.program_seconds
        """Time spent in the sandbox."""
        self.run = store.journal.programs_run
        """Programs actually run."""
        self._store = store
        self._limits = store.settings.limits
        self._scorer = store.settings.scorer
        self._turn = threading.RLock()
        self._known: dict[str, Rendered] = {}
        self._sheets: dict[bytes, bytes | None] = {}

    def outcome(self, code: str) -> Rendered:
        """The outcome of a program; without its GIF if an earlier process ran it.

        Raises:
            SandboxError: The sandbox failed.
        """
        with self._turn:
            return self._known.get(code) or self._new(code)

    def _new(self, code: str) -> Rendered:
        stored = self._store.known_program(content_hash(code))
        if stored is not None and (stored.measurements is None or stored.measurements.complete):
            rendered = Rendered(stored.verdict, stored.reason, None, stored.measurements, stored.seconds)
        else:
            rendered = render(code, self._limits)
            self.run += 1
            self.seconds += rendered.seconds
            self._store.append(self._row(code, rendered, rendered.seconds))
        if rendered.verdict.certain:
            self._known[code] = rendered
        return rendered

    def render(self, code: str) -> Rendered:
        """The outcome with the GIF, if there is one; a program whose GIF was not kept runs again. May be called from
        several threads, which take turns: the cores are busy with the model."""
        with self._turn:
            rendered = self.outcome(code)
            if rendered.verdict is Verdict.OK and rendered.gif is None:
                again = render(code, self._limits)
                if again.gif is None:  # a limit, which a loaded machine can cause
                    return again
                rendered = dataclasses.replace(rendered, gif=again.gif)
                self._known[code] = rendered
            return rendered

    def search(self, start: Trial, task: Task, find: Find) -> Trial:
        """The result of a search over formulas or numbers, stored or new.

        Args:
            start: The program to start from.
            task: The task that it draws.
            find: The search.

        Raises:
            SandboxError: The sandbox failed.
        """
        began = content_hash(start.code)
        stored = self._store.known_search(began, task.name)
        if stored is not None:
            return start if stored.code == began else self.trial(self._store.code(stored.code), task)
        run, seconds = self.run, self.seconds
        with ThreadPoolExecutor() as pool:

            def measure(codes: Sequence[str]) -> list[Trial]:
                clock = time.monotonic()
                rendered = list(pool.map(lambda code: self._known.get(code) or render(code, self._limits), codes))
                self.run += sum(code not in self._known for code in codes)
                self.seconds += time.monotonic() - clock
                return [Trial(code, each, self.score(each, task)) for code, each in zip(codes, rendered, strict=True)]

            found = find(start, measure)
        self._store.put("code", found.code)
        row = self._row(found.code, found.rendered, self.seconds - seconds)
        self._store.append(row.model_copy(update={"start": began, "task": task.name, "tried": self.run - run}))
        self._known[found.code] = found.rendered
        return found

    def _row(self, code: str, rendered: Rendered, seconds: float) -> ProgramRun:
        return ProgramRun(
            code=content_hash(code),
            verdict=rendered.verdict,
            reason=rendered.reason,
            measurements=rendered.measurements,
            seconds=round(seconds, 3),
            at=self._store.elapsed(),
        )

    def sheet(self, gif: bytes) -> bytes | None:
        """The contact sheet of a GIF, a PNG; None when it cannot be decoded.

        Raises:
            SandboxError: The sandbox failed.
        """
        if gif not in self._sheets:
            started = time.monotonic()
            drawn = picture_gif(gif, SHEET, self._limits)
            self.seconds += time.monotonic() - started
            self._sheets[gif] = drawn if isinstance(drawn, bytes) else None
        return self._sheets[gif]

    def score(self, rendered: Rendered, task: Task) -> Score:
        """The score of an outcome by the run's rule."""
        return score.of(self._scorer, rendered.measurements, task)

    def others(self, rendered: Rendered, task: Task) -> tuple[Score, ...]:
        """Its scores by the other rules; empty without a GIF."""
        if rendered.measurements is None:
            return ()
        return tuple(score.of(name, rendered.measurements, task) for name in score.SCORERS if name != self._scorer)

    def trial(self, code: str, task: Task) -> Trial:
        """Run, measure and score a program."""
        rendered = self.outcome(code)
        return Trial(code, rendered, self.score(rendered, task))


# --- contact sheets for a reflector that can see -------------------------------------------------------------------

#: Name of a sheet in the side info, after the number of its sample.
KEY = "frames (numbered; a cell named seam shows where the last and the first differ)"
#: First lines of a grounded request with a sheet.
CAPTION = (
    "The picture shows frames, with their numbers, of what the program spoken of below drew, the worst one if there "
    "are two. A cell named seam, if there is one, shows where the last and the first frame differ.\n\n"
)


class Sight:
    """Contact sheets for a reflector with vision = true; nothing for any other."""

    def __init__(self, programs: Programs, store: RunStore) -> None:
        self._on = store.settings.reflector.vision
        self._programs = programs
        self._store = store

    def of_gif(self, gif: bytes | None) -> tuple[bytes, ...]:
        """The sheet of a GIF, a PNG; empty without a GIF, or when it cannot be decoded.

        Raises:
            SandboxError: The sandbox failed.
        """
        sheet = self._programs.sheet(gif) if self._on and gif is not None else None
        return () if sheet is None else (sheet,)

    def of_program(self, code: str) -> tuple[bytes, ...]:
        """The sheet of a program's GIF, as of_gif."""
        return self.of_gif(self._programs.render(code).gif) if self._on else ()

    def of_sample(self, sample: Sample | None) -> tuple[bytes, ...]:
        """The sheet of a sample's GIF, as of_gif."""
        if not self._on or sample is None or sample.gif is None:
            return ()
        return self.of_gif(self._store.gif(sample.gif))

    def side_info(self, position: int, sample: Sample) -> dict[str, bytes]:
        """The entry of the side info for the sample at `position`, from 1: its sheet, a PNG."""
        return {f"Sample {position}, {KEY}": png for png in self.of_sample(sample)}


def split(prompt: str | list[dict[str, Any]]) -> tuple[str, list[bytes]]:
    """Text and pictures of a request from GEPA: a text, or messages with content parts."""
    if isinstance(prompt, str):
        return prompt, []
    texts: list[str] = []
    images: list[bytes] = []
    for message in prompt:
        content = message["content"]
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                images.append(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
    return "\n\n".join(texts), images


def written_down(text: str, images: Sequence[bytes], store: RunStore) -> str:
    """A request for proposals.jsonl, with one line per picture; the picture goes to sheets/."""
    lines = [
        f"[picture sheets/{store.put('sheets', png)}.png, {len(png):,} bytes, sha256 {hashlib.sha256(png).hexdigest()}]"
        for png in images
    ]
    return "\n".join([text, *lines])
