"""Writes report.html for a stored run: one self-contained page."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from localgif.errors import PreflightError, RunCorrupt, SandboxError
from localgif.gif import SHEET
from localgif.records import Sample
from localgif.report import plots, story
from localgif.report.story import Candidate, verdict_sentence
from localgif.sandbox.intake import BadGif, first_frame
from localgif.sandbox.runner import picture_gif
from localgif.sandbox.text import printable
from localgif.search.progress import duration
from localgif.settings import repeat_flags
from localgif.store.read import RunRecord, StoredRun, load_run, status_of, write_beside

if TYPE_CHECKING:
    from jinja2 import Environment

#: At most this many GIFs get a film strip, fresh samples first: each is decoded in its own process.
_MOST_STRIPS = 10
#: Plots of shorter runs use seconds, not minutes; seconds.
_SHORT = 180
#: Longer texts are cut, characters: a program may have 200 KB, and a page hundreds of programs.
_LONGEST_TEXT = 20_000


def write_report(folder: Path, *, whole: bool = True) -> Path:
    """Write the report of a finished or unfinished run; returns its path.

    Args:
        whole: Include plots and film strips (a few seconds). False after Ctrl-C.

    Raises:
        RunCorrupt: run.json or a log cannot be read.
        RunError: The page cannot be written.
    """
    write_beside(folder, "report.html", page_of(folder, whole=whole).encode("utf-8", "replace"))
    return folder / "report.html"


def page_of(folder: Path, *, whole: bool = True) -> str:
    """The text of a run's report; arguments and errors as for write_report."""
    run = load_run(folder)
    return render(run, status_of(folder, run.record), _strips(run) if whole else {}, plotted=whole)


def render(run: StoredRun, status: str, strips: Mapping[str, bytes] = {}, *, plotted: bool = True) -> str:
    """The page of a run.

    Args:
        status: For people, from store.read.status_of.
        strips: Hash of a GIF -> PNG with its frames, made in a confined process.
        plotted: Include plots, which take one or two seconds.
    """
    from markupsafe import Markup

    result, script = run.record.result, asset("report.js")
    verdict = verdict_sentence(result).removeprefix("Verdict: ") if result is not None else ""
    verdict = f"DEMO: {verdict}" if verdict and run.record.demo else verdict
    return (
        environment()
        .get_template("report.html")
        .render(
            **_contents(run, strips, plotted=plotted),
            status=status,
            verdict=verdict[:1].upper() + verdict[1:],
            script=Markup(script),
            script_hash=script_hash(script),
            style=Markup(asset("report.css")),
            purposes=PURPOSES,
            data=Markup,
        )
    )


def environment() -> Environment:
    """The templates of the pages, with their filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("localgif.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Removes escape sequences and characters that reorder text, from every text in a page.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    made.filters.update(cut=_cut, number=_number, duration=duration, local=_local)
    return made


def asset(name: str) -> str:
    """The text of a style sheet or script for a page."""
    return resources.files("localgif.report").joinpath("templates", name).read_text("utf-8")


def headline(record: RunRecord) -> str:
    """What a run draws: the brief of a single task, else the names of the tasks or of the split."""
    briefs = {task.name: task.brief for task in record.drawn}
    return next(iter(briefs.values())) if len(briefs) == 1 else record.settings.task.replace(",", ", ")


def script_hash(script: str) -> str:
    """The hash with which a page's content security policy allows its one script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _cut(text: str, limit: int = _LONGEST_TEXT) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n... ({len(text) - limit:,} more characters)"


def _local(stamp: str, form: str = "%Y-%m-%d %H:%M") -> str:
    """A stored time in this machine's time zone; unchanged if it is not a time."""
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime(form)
    except (ValueError, OverflowError):
        return stamp


def _number(value: float | None, form: str = "%.3f") -> str:
    return "-" if value is None else form % value


def _contents(run: StoredRun, strips: Mapping[str, bytes], *, plotted: bool) -> dict[str, Any]:
    """The variables of the template."""
    from markupsafe import Markup

    record = run.record
    briefs = {task.name: task.brief for task in record.drawn}
    named = [s.candidate for s in run.samples] + [name for p in run.proposals for name in (p.parent, p.child) if name]
    ran = [a.code for s in run.samples for a in s.attempts] + [s.code for s in run.samples]
    ran += [p.code for p in run.proposals]
    texts, programs = _texts(run, "candidates", named), _texts(run, "code", filter(None, ran))
    candidates = story.candidates_of(run, texts)
    seed = next((c for c in candidates.values() if c.name == "seed"), None)
    best = next((c for c in candidates.values() if c.winner), None)
    gallery = Gallery(run, strips)
    pairs, pair_count = gallery.pairs(seed, best)
    shown = best or seed
    tiles = gallery.tiles(candidates.values())
    phases = story.phases_of(run)
    names, rows = story.parts_of(candidates.values())
    noise, noise_text = story.noise_of(candidates.values(), record.settings.samples, seed)
    drawn = dict.fromkeys(("calls", "clock", "time", "tokens", "front"), "")
    if plotted:
        drawn |= _plots(run, noise, seed, phases, names, rows)
    missing = [f"candidates/{n}.md" for n, t in texts.items() if t is None]
    missing += [f"code/{n}.py" for n, t in programs.items() if t is None] + sorted(gallery.missing)
    return {
        "run": run,
        "record": record,
        "result": record.result,
        "brief": headline(record),
        "briefs": briefs,
        "every_brief": briefs | {task.name: task.brief for task in record.neighbours},
        "programs": programs,
        "candidates": list(candidates.values()),
        "seed": seed,
        "best": best,
        "pairs": pairs,
        "pair_count": pair_count,
        "films": _films(pairs),
        "prompt": story.marked(shown.text) if shown is not None and shown.text is not None else None,
        "tiles": tiles,
        "outcomes": sorted({tile.sample.verdict.value for tile in tiles}),
        "steps": story.folded(story.steps_of(run, candidates)),
        "phases": phases,
        "total": story.total_seconds(run),
        "part_names": names,
        "rows": rows,
        "noise_text": noise_text,
        "mean": story.mean,
        "plotted": plotted,
        "plots": {key: Markup(svg) for key, svg in drawn.items()},
        "front_axes": story.most_telling(names, rows),
        "command": "localgif demo"
        if record.demo
        else shlex.join(["localgif", "optimize", *repeat_flags(record.settings)]),
        "left_out": gallery.left_out,
        "missing": missing,
    }


def _films(pairs: Iterable[tuple[_Tile, _Tile | None]]) -> list[_Tile]:
    """The first tile of each prompt that has a film strip."""
    found: dict[str, _Tile] = {}
    for tile in (tile for pair in pairs for tile in pair if tile is not None):
        if tile.picture is not None and tile.picture.strip:
            found.setdefault(tile.candidate.hash, tile)
    return list(found.values())


def _texts(run: StoredRun, kind: str, names: Iterable[str]) -> dict[str, str | None]:
    """Hash -> stored text; None if its file is missing or was changed, which the page reports."""
    found: dict[str, str | None] = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = run.text(kind, name)
        except RunCorrupt:
            found[name] = None
    return found


def _plots(
    run: StoredRun,
    noise: plots.Band | None,
    seed: Candidate | None,
    phases: list[story.Phase],
    names: list[str],
    rows: list[story.PartRow],
) -> dict[str, str]:
    """Name -> SVG of the plots with enough points."""
    drawn: dict[str, str] = {}
    by_call, by_clock = story.traces_of(run)
    around, total = seed.mean if seed else None, story.total_seconds(run) or 0.0
    # The unit of the axes.
    unit, per_minute = ("minutes", 1.0) if total >= _SHORT else ("seconds", 60.0)
    if by_call.points >= plots.LEAST:
        drawn["calls"] = plots.score_plot(by_call, noise, around, "metric call", whole=True)
    if by_clock.points >= plots.LEAST:
        drawn["clock"] = plots.score_plot(by_clock.scaled(per_minute), noise, around, f"{unit} of work", whole=False)
    if phases:
        scale = per_minute / 60
        parts = [
            (p.name, [(p.writer, p.colour, p.model * scale), ("sandbox", "sandbox", p.sandbox * scale)]) for p in phases
        ]
        rest = total * scale - sum(value for _, row in parts for *_, value in row)
        if rest > 0:
            parts.append(("other", [("loading, waiting", "rest", rest)]))
        tokens = [(p.name, [(p.writer, p.colour, float(p.tokens))]) for p in phases]
        if len(parts) >= plots.LEAST:
            drawn["time"] = plots.bars_plot(parts, unit)
        if len(tokens) >= plots.LEAST:
            drawn["tokens"] = plots.bars_plot(tokens, "tokens written")
    axes = story.most_telling(names, rows)
    if axes is not None and len(rows) >= plots.LEAST:
        i, j = axes
        best = story.front([(row.parts[i], row.parts[j]) for row in rows])
        points = [
            plots.Point(
                row.candidate.name,
                row.parts[i],
                row.parts[j],
                on_front,
                "best" if row.candidate.winner else "seed" if row.candidate.name == "seed" else "other",
            )
            for row, on_front in zip(rows, best, strict=True)
        ]
        drawn["front"] = plots.front_plot(points, names[i], names[j])
    return drawn


def _strips(run: StoredRun) -> dict[str, bytes]:
    """Hash of a GIF -> PNG with its frames, drawn in a confined process. Empty if the sandbox does not work: the report
    must be available on such machines too."""
    order = {"fresh": 0, "retest": 1, "transfer": 2, "search": 3}
    moving = [s for s in run.samples if s.gif is not None and s.measurements is not None and s.measurements.frames > 1]
    wanted = dict.fromkeys(str(s.gif) for s in sorted(moving, key=lambda s: (order[s.purpose], -s.score.total)))
    found: dict[str, bytes] = {}
    for name in list(wanted)[:_MOST_STRIPS]:
        try:
            png = picture_gif(run.data("gifs", name), SHEET)
        except RunCorrupt:
            continue
        except (PreflightError, SandboxError):
            break
        if isinstance(png, bytes):
            found[name] = png
    return found


# --- pictures ---------------------------------------------------------------------------------------------------------

#: Embed at most this many bytes of pictures: base64 adds a third, and the page should stay below 25 MB.
_ROOM = 15 * 2**20
#: Show at most this many pairs side by side; the gallery has all samples.
_MAX_PAIRS = 8

PURPOSES = {"search": "search", "retest": "re-test", "fresh": "fresh", "transfer": "other task"}


class _Picture(NamedTuple):
    """An embedded GIF, as data: URLs."""

    source: str
    still: str
    """The first frame; "" with a single frame."""
    strip: str
    """A PNG with all frames; "" without one."""


@dataclass
class _Tile:
    """One or more samples of a prompt with the same program, GIF and reasons."""

    candidate: Candidate
    sample: Sample
    """One of them."""
    picture: _Picture | None
    absent: str
    """Why there is no picture, or ""."""
    labels: list[str] = field(default_factory=list)
    purposes: set[str] = field(default_factory=set)

    @property
    def facts(self) -> str:
        """Frames, seconds per loop, size, and the loop gap."""
        m = self.sample.measurements
        if m is None:
            return ""
        words = [
            f"{m.frames} frame{'s' if m.frames != 1 else ''}",
            f"{sum(m.delays_ms) / 1000:.2f} s",
            f"{m.size / 1024:.1f} KB",
            *([f"loop gap {m.gap / m.motion:.1f} steps"] if m.motion > 0 else []),
        ]
        return ", ".join(word.replace(" ", "\N{NO-BREAK SPACE}") for word in words)


class Gallery:
    """Makes tiles and pairs. Embeds GIFs up to _ROOM bytes, and records files that cannot be read.

    `strips` maps the hash of a GIF to a PNG with its frames.
    """

    def __init__(self, run: StoredRun, strips: Mapping[str, bytes]) -> None:
        self.left_out = 0
        """Number of GIFs that are not embedded because of the limit."""
        self.missing: set[str] = set()
        self._run = run
        self._strips = strips
        self._room = _ROOM

    def tiles(self, candidates: Iterable[Candidate]) -> list[_Tile]:
        """All samples by candidate; equal samples share a tile."""
        tiles: list[_Tile] = []
        for candidate in candidates:
            same: dict[object, _Tile] = {}
            count: Counter[str] = Counter()
            for sample in (*candidate.samples, *candidate.carried):
                count[sample.purpose] += 1
                reasons = tuple(a.reason for a in sample.attempts)
                key = (sample.task, sample.code, sample.gif, sample.verdict, sample.score, reasons)
                if key not in same:
                    same[key] = self.tile(candidate, sample)
                    tiles.append(same[key])
                same[key].labels.append(f"{PURPOSES[sample.purpose]} {count[sample.purpose]}")
                same[key].purposes.add(sample.purpose)
        return tiles

    def pairs(self, seed: Candidate | None, best: Candidate | None) -> tuple[list[tuple[_Tile, _Tile | None]], int]:
        """Pairs of samples of both prompts with the same task and index, so the same model seed: fresh ones if both
        prompts have some, else from the search. Returns the pairs to show, and the number of all pairs."""
        if seed is None:
            return [], 0
        other = best if best is not None and best is not seed else None
        purpose = "fresh" if all(c.scores("fresh") for c in (seed, other) if c is not None) else "search"
        ours = {(s.task, s.index): s for s in seed.samples if s.purpose == purpose}
        theirs = {(s.task, s.index): s for s in (other.samples if other is not None else ()) if s.purpose == purpose}
        keys = [key for key in ours if key in theirs] or list(ours)
        pairs = [
            (self.tile(seed, ours[key]), self.tile(best, theirs[key]) if best and key in theirs else None)
            for key in keys[:_MAX_PAIRS]
        ]
        return pairs, len(keys)

    def tile(self, candidate: Candidate, sample: Sample) -> _Tile:
        """The tile of one sample, with its GIF if the limit allows it."""
        measured = sample.measurements
        if sample.gif is None or measured is None:
            return _Tile(candidate, sample, None, sample.verdict.value.replace("_", " "))
        try:
            gif = self._run.data("gifs", sample.gif)
            still = first_frame(gif) if measured.frames > 1 else b""
        except (RunCorrupt, BadGif):
            self.missing.add(f"gifs/{sample.gif}.gif")
            return _Tile(candidate, sample, None, "its file is missing or was changed")
        strip = self._strips.get(sample.gif, b"")
        size = len(gif) + len(still) + len(strip)
        if size > self._room:
            self.left_out += 1
            return _Tile(candidate, sample, None, "not embedded, to keep the page small")
        self._room -= size
        return _Tile(candidate, sample, _Picture(_url("gif", gif), _url("gif", still), _url("png", strip)), "")


def _url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}" if data else ""
