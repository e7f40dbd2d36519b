"""A stored run -> report.html, one self-contained page."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgif.errors import PreflightError, RunCorrupt, SandboxError
from localgif.files import replace_file
from localgif.gif import SHEET
from localgif.report import plots, story
from localgif.report.gallery import LONGEST_TEXT, PURPOSES, Gallery
from localgif.report.story import Candidate, verdict_sentence
from localgif.sandbox.runner import picture_gif
from localgif.sandbox.text import printable
from localgif.search.progress import duration
from localgif.settings import repeat_flags
from localgif.store.read import StoredRun, load_run, status_of

if TYPE_CHECKING:
    from jinja2 import Environment

#: At most this many GIFs get a film strip, fresh samples first: each is decoded in a process of its own.
MOST_STRIPS = 10


def write_report(folder: Path, *, whole: bool = True) -> Path:
    """Write the report of a run, finished or not; returns its path.

    Args:
        folder: The run folder.
        whole: Include plots and film strips (a few seconds). False after Ctrl-C.

    Raises:
        RunCorrupt: run.json or a log cannot be read.
        OSError: The page cannot be written.
    """
    run = load_run(folder)
    page = render(run, status_of(folder, run.record), _strips(run) if whole else {}, plotted=whole)
    path = folder / "report.html"
    replace_file(path, page.encode("utf-8", "replace"))
    return path


def render(run: StoredRun, status: str, strips: Mapping[str, bytes] = {}, *, plotted: bool = True) -> str:
    """The page of a run, finished or not.

    Args:
        run: The run.
        status: Its status for people (store.read.status_of).
        strips: Hash of a GIF -> PNG with its frames, made in a confined process.
        plotted: Whether to draw plots, which takes a second or two.
    """
    from markupsafe import Markup

    result, script = run.record.result, asset("report.js")
    verdict = verdict_sentence(result).removeprefix("Verdict: ") if result is not None else ""
    return (
        environment()
        .get_template("report.html")
        .render(
            **_contents(run, strips, plotted=plotted),
            status=status,
            verdict=verdict[:1].upper() + verdict[1:],
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            style=Markup(asset("report.css")),
            purposes=PURPOSES,
            data=Markup,
        )
    )


def environment() -> Environment:
    """The templates of pages, and the filters that they share."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("localgif.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every text in a page goes through here: no escape sequences, no characters that reorder text.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    made.filters.update(cut=_cut, number=_number, duration=duration)
    return made


def asset(name: str) -> str:
    """The text of a style sheet or script for a page."""
    return resources.files("localgif.report").joinpath("templates", name).read_text("utf-8")


def _cut(text: str, limit: int = LONGEST_TEXT) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n... ({len(text) - limit:,} more characters)"


def _number(value: float | None, form: str = "%.3f") -> str:
    return "-" if value is None else form % value


def _contents(run: StoredRun, strips: Mapping[str, bytes], *, plotted: bool) -> dict[str, Any]:
    """The variables of the template."""
    from markupsafe import Markup

    record = run.record
    brief, briefs = _briefs(run)
    texts = {name: _text(run, "candidates", name) for name in _prompts(run)}
    programs = {name: _text(run, "code", name) for name in _programs(run)}
    candidates = story.candidates_of(run, texts)
    seed = next((c for c in candidates.values() if c.name == "seed"), None)
    best = next((c for c in candidates.values() if c.winner), None)
    gallery = Gallery(run, programs, briefs, strips)
    pairs, pair_count, pair_purpose = gallery.pairs(seed, best)
    tiles = gallery.tiles(candidates.values())
    phases = story.phases_of(run)
    names, rows = story.parts_of(candidates.values())
    noise, noise_text = story.noise_of(candidates.values(), record.settings.samples, seed)
    drawn = dict.fromkeys(("calls", "minutes", "time", "tokens", "front"), "")
    if plotted:
        drawn |= _plots(run, noise, seed, phases, names, rows)
    missing = [f"candidates/{n}.md" for n, t in texts.items() if t is None]
    missing += [f"code/{n}.py" for n, t in programs.items() if t is None] + gallery.missing
    return {
        "record": record,
        "result": record.result,
        "brief": brief,
        "candidates": list(candidates.values()),
        "seed": seed,
        "best": best,
        "pairs": pairs,
        "pair_count": pair_count,
        "pair_purpose": pair_purpose,
        "tiles": tiles,
        "outcomes": sorted({tile.sample.verdict.value for tile in tiles}),
        "steps": story.steps_of(run, candidates, programs),
        "phases": phases,
        "total": story.total_seconds(run),
        "part_names": names,
        "rows": rows,
        "noise_text": noise_text,
        "mean": story.mean,
        "plotted": plotted,
        "plots": {key: Markup(svg) for key, svg in drawn.items()},
        "front_axes": story.most_telling(names, rows),
        "command": shlex.join(["localgif", "optimize", *repeat_flags(record.settings)]),
        "left_out": gallery.left_out,
        "missing": missing,
        "torn": run.torn,
        "damaged": run.damaged,
    }


def _briefs(run: StoredRun) -> tuple[str, dict[str, str]]:
    """The headline, and the brief of each sample's task."""
    known = {task.name: task.brief for task in run.record.drawn}
    headline = next(iter(known.values())) if len(known) == 1 else run.record.settings.task
    return headline, {sample.task: known.get(sample.task, headline) for sample in run.samples}


def _plots(
    run: StoredRun,
    noise: plots.Band | None,
    seed: Candidate | None,
    phases: list[story.Phase],
    names: list[str],
    rows: list[story.PartRow],
) -> dict[str, str]:
    """The plots that have something to show."""
    drawn: dict[str, str] = {}
    by_call, by_minute = story.traces_of(run)
    around = seed.mean if seed else None
    if by_call.means:
        drawn["calls"] = plots.score_plot(by_call, noise, around, "metric call", whole=True)
    if by_minute.means:
        drawn["minutes"] = plots.score_plot(by_minute, noise, around, "minutes of work", whole=False)
    if phases:
        parts = [(p.name, [(p.writer, p.colour, p.model / 60), ("sandbox", "sandbox", p.sandbox / 60)]) for p in phases]
        rest = (story.total_seconds(run) or 0.0) / 60 - sum(value for _, row in parts for *_, value in row)
        if rest > 0:
            parts.append(("other", [("loading, waiting", "rest", rest)]))
        drawn["time"] = plots.bars_plot(parts, "minutes")
        tokens = [(p.name, [(p.writer, p.colour, float(p.tokens))]) for p in phases]
        drawn["tokens"] = plots.bars_plot(tokens, "tokens written")
    axes = story.most_telling(names, rows)
    if axes is not None and len(rows) > 1:
        i, j = axes
        best = {id(row) for row in story.front(rows, i, j)}
        points = [
            plots.Point(
                r.candidate.name,
                r.parts[i],
                r.parts[j],
                id(r) in best,
                "best" if r.candidate.winner else "seed" if r.candidate.name == "seed" else "other",
            )
            for r in rows
        ]
        drawn["front"] = plots.front_plot(points, names[i], names[j])
    return drawn


def _prompts(run: StoredRun) -> Iterable[str]:
    named = [s.candidate for s in run.samples]
    named += [name for p in run.proposals for name in (p.parent, p.child) if name is not None]
    return dict.fromkeys(named)


def _programs(run: StoredRun) -> Iterable[str]:
    named = [name for s in run.samples for name in (s.code, *(a.code for a in s.attempts))]
    return dict.fromkeys(name for name in [*named, *(p.code for p in run.proposals)] if name is not None)


def _text(run: StoredRun, kind: str, name: str) -> str | None:
    """A stored text; None when its file is missing or was changed. The page lists such files."""
    try:
        return run.text(kind, name)
    except RunCorrupt:
        return None


def _strips(run: StoredRun) -> dict[str, bytes]:
    """Hash of a GIF -> PNG with its frames, drawn in a confined process. Empty where the sandbox does not work: the
    page shows stored results and must be available there, too."""
    order = {"fresh": 0, "retest": 1, "search": 2}
    moving = [s for s in run.samples if s.gif is not None and s.measurements is not None and s.measurements.frames > 1]
    wanted = dict.fromkeys(str(s.gif) for s in sorted(moving, key=lambda s: (order[s.purpose], -s.score.total)))
    found: dict[str, bytes] = {}
    for name in list(wanted)[:MOST_STRIPS]:
        try:
            png = picture_gif(run.data("gifs", name), SHEET)
        except RunCorrupt:
            continue
        except (PreflightError, SandboxError):
            break
        if isinstance(png, bytes):
            found[name] = png
    return found
