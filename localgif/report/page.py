"""A stored run -> report.html, one self-contained page."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgif.errors import RunCorrupt
from localgif.report import plots, story
from localgif.report.gallery import LONGEST_TEXT, PURPOSES, Pictures, pairs_of, tiles_of
from localgif.report.story import Candidate, candidates_of, mean, steps_of
from localgif.sandbox.text import printable
from localgif.settings import repeat_flags
from localgif.store.read import StoredRun

if TYPE_CHECKING:
    from jinja2 import Environment

    from localgif.store.read import StoredRun


def render(
    run: StoredRun,
    status: str,
    verdict: str | None,
    strips: Mapping[str, bytes] | None = None,
    *,
    plotted: bool = True,
) -> str:
    """The page of a run, finished or not.

    Args:
        run: The run.
        status: Its status for people (runs.store.status_of).
        verdict: What may be said of a finished run, one or two sentences; None for an unfinished one.
        strips: Hash of a GIF -> a PNG with its frames, made in a confined process; none are fine.
        plotted: Whether plots are drawn: they take a second or two.
    """
    from markupsafe import Markup

    script, style = asset("report.js"), asset("report.css")
    return (
        environment()
        .get_template("report.html")
        .render(
            **_contents(run, strips or {}, Markup, plotted=plotted),
            status=status,
            verdict=verdict,
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            style=Markup(style),
            purposes=PURPOSES,
            svg=Markup,
        )
    )


def environment() -> Environment:
    """Templates of pages, and what all of them say in one way."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("localgif.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # All that is put into a page goes through here: no escape sequences, no text that reorders itself.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    made.filters.update(cut=_cut, number=_number, clock=_clock, seconds=_seconds)
    return made


def _contents(run: StoredRun, strips: Mapping[str, bytes], safe: type[str], *, plotted: bool) -> dict[str, Any]:
    """What the template shows."""
    record = run.record
    brief, briefs = _briefs(run)
    texts = {name: _text(run, "candidates", name) for name in _prompts(run)}
    programs = {name: _text(run, "code", name) for name in _programs(run)}
    candidates = candidates_of(run, texts)
    pictures = Pictures(run, strips)
    pairs, pair_count, pair_purpose = pairs_of(candidates, pictures, programs, briefs)
    tiles = tiles_of(list(candidates.values()), pictures, programs, briefs)
    seed = next((c for c in candidates.values() if c.name == "seed"), None)
    phases = story.phases_of(run)
    names, rows = story.parts_of(candidates.values())
    noise, noise_text = story.noise_of(candidates.values(), record.settings.samples, seed)
    drawn = dict.fromkeys(("calls", "minutes", "time", "tokens", "front"), "")
    if plotted:
        drawn |= _plots(run, noise, seed, phases, names, rows)
    missing = [f"candidates/{n}.md" for n, t in texts.items() if t is None]
    missing += [f"code/{n}.py" for n, t in programs.items() if t is None] + pictures.missing
    return {
        "record": record,
        "result": record.result,
        "brief": brief,
        "candidates": list(candidates.values()),
        "seed": seed,
        "best": next((c for c in candidates.values() if c.winner), None),
        "pairs": pairs,
        "pair_count": pair_count,
        "pair_purpose": pair_purpose,
        "tiles": tiles,
        "outcomes": sorted({tile.sample.verdict.value for tile in tiles}),
        "steps": steps_of(run, candidates, programs),
        "phases": phases,
        "total": story.total_seconds(run),
        "part_names": names,
        "rows": rows,
        "noise_text": noise_text,
        "mean": mean,
        "plotted": plotted,
        "plots": {key: safe(svg) for key, svg in drawn.items()},
        "front_axes": story.most_telling(names, rows),
        "command": shlex.join(["localgif", "optimize", *repeat_flags(record.settings)]),
        "left_out": pictures.left_out,
        "missing": missing,
        "torn": run.torn,
        "damaged": run.damaged,
        "data": safe,
    }


def _briefs(run: StoredRun) -> tuple[str, dict[str, str]]:
    """What was asked for: as a headline, and for the task of each sample."""
    record = run.record
    known = {task.name: task.brief for task in record.drawn}
    headline = next(iter(known.values())) if len(known) == 1 else record.settings.task
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
    drawn = dict.fromkeys(("calls", "minutes", "time", "tokens", "front"), "")
    calls, clock = story.traces_of(run)
    around = seed.mean if seed else None
    if calls.means:
        drawn["calls"] = plots.score_plot(calls, noise, around, "metric call", whole=True)
    if clock.means:
        drawn["minutes"] = plots.score_plot(clock, noise, around, "minutes of work", whole=False)
    if phases:
        parts = [
            (p.name, [(_writer(p), _colour(p), p.model / 60), ("sandbox", "sandbox", p.sandbox / 60)]) for p in phases
        ]
        total = story.total_seconds(run)
        rest = (total or 0.0) / 60 - sum(value for _, row in parts for *_, value in row)
        if rest > 0:
            parts.append(("other", [("loading, waiting", "rest", rest)]))
        drawn["time"] = plots.bars_plot(parts, "minutes")
        drawn["tokens"] = plots.bars_plot(
            [(p.name, [(_writer(p), _colour(p), float(p.tokens))]) for p in phases], "tokens written"
        )
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


def _writer(phase: story.Phase) -> str:
    return "reflector" if phase.name == "reflection" else "animator"


def _colour(phase: story.Phase) -> str:
    return "other" if phase.name == "reflection" else "best"


def _prompts(run: StoredRun) -> Iterable[str]:
    named = [s.candidate for s in run.samples]
    named += [name for p in run.proposals for name in (p.parent, p.child) if name is not None]
    return dict.fromkeys(named)


def _programs(run: StoredRun) -> Iterable[str]:
    named = [name for s in run.samples for name in (s.code, *(a.code for a in s.attempts))]
    return dict.fromkeys(name for name in [*named, *(p.code for p in run.proposals)] if name is not None)


def _text(run: StoredRun, kind: str, name: str) -> str | None:
    """A stored text; None when its file is missing or was changed, which a report can live with."""
    try:
        return run.text(kind, name)
    except RunCorrupt:
        return None


def asset(name: str) -> str:
    """The text of a style sheet or script that goes into a page."""
    return resources.files("localgif.report").joinpath("templates", name).read_text("utf-8")


def _cut(text: str, limit: int = LONGEST_TEXT) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n... ({len(text) - limit:,} more characters)"


def _number(value: float | None, form: str = "%.3f") -> str:
    return "-" if value is None else form % value


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s"


def _clock(seconds: float | None) -> str:
    """ "4 min 05 s"."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours} h {rest // 60:02} min"
    return f"{rest // 60} min {rest % 60:02} s" if rest >= 60 else f"{rest} s"


#: So many GIFs at most get a strip of their frames, the fresh ones first: each is decoded in a process of its own.
MOST_STRIPS = 10


def write_report(folder: Path, *, whole: bool = True) -> Path:
    """The report of a run folder, finished or not; returns where it lies.

    Args:
        folder: The run.
        whole: With plots and strips of frames, which take some seconds; without, for who pressed Ctrl-C.

    Raises:
        RunCorrupt: run.json or a complete line of a log cannot be read.
        OSError: the page cannot be written.
    """
    from localgif.files import replace_file
    from localgif.report.story import verdict_sentence
    from localgif.store.read import load_run, status_of

    run = load_run(folder)
    result = run.record.result
    verdict = verdict_sentence(result).removeprefix("Verdict: ") if result is not None else None
    verdict = verdict[:1].upper() + verdict[1:] if verdict else None
    page = render(run, status_of(folder, run.record), verdict, _strips(run) if whole else {}, plotted=whole)
    path = folder / "report.html"
    replace_file(path, page.encode("utf-8", "replace"))
    return path


def _strips(run: StoredRun) -> dict[str, bytes]:
    """Hash of a GIF -> a PNG with its frames, drawn in a confined process. Where that cannot be had, the page goes
    without: it shows stored results and must open where the sandbox does not."""
    from localgif.errors import PreflightError, RunCorrupt, SandboxError
    from localgif.gif import SHEET
    from localgif.sandbox.runner import picture_gif

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
