"""The pictures of the report: tiles and pairs of samples, with GIFs embedded up to a size limit."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from localgif.errors import RunCorrupt
from localgif.records import Sample
from localgif.report.story import Candidate
from localgif.sandbox.intake import BadGif, first_frame
from localgif.store.read import StoredRun

#: Embed at most this many bytes of pictures: base64 adds a third, and the page should stay below 25 MB.
_ROOM = 15 * 2**20
#: Show at most this many pairs side by side; the gallery has all samples.
_MAX_PAIRS = 8

PURPOSES = {"search": "search", "retest": "re-test", "fresh": "fresh", "transfer": "other task"}


class Picture(NamedTuple):
    """An embedded GIF, as data: URLs."""

    source: str
    still: str
    """The first frame; "" with a single frame."""
    strip: str
    """A PNG with all frames; "" without one."""


@dataclass
class Tile:
    """One or more samples of a prompt with the same program, GIF and reasons."""

    candidate: Candidate
    sample: Sample
    """One of them."""
    picture: Picture | None
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

    def tiles(self, candidates: Iterable[Candidate]) -> list[Tile]:
        """All samples by candidate; equal samples share a tile."""
        tiles: list[Tile] = []
        for candidate in candidates:
            same: dict[object, Tile] = {}
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

    def pairs(self, seed: Candidate | None, best: Candidate | None) -> tuple[list[tuple[Tile, Tile | None]], int]:
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

    def tile(self, candidate: Candidate, sample: Sample) -> Tile:
        """The tile of one sample, with its GIF if the limit allows it."""
        measured = sample.measurements
        if sample.gif is None or measured is None:
            return Tile(candidate, sample, None, sample.verdict.value.replace("_", " "))
        try:
            gif = self._run.data("gifs", sample.gif)
            still = first_frame(gif) if measured.frames > 1 else b""
        except (RunCorrupt, BadGif):
            self.missing.add(f"gifs/{sample.gif}.gif")
            return Tile(candidate, sample, None, "its file is missing or was changed")
        strip = self._strips.get(sample.gif, b"")
        size = len(gif) + len(still) + len(strip)
        if size > self._room:
            self.left_out += 1
            return Tile(candidate, sample, None, "not embedded, to keep the page small")
        self._room -= size
        return Tile(candidate, sample, Picture(_url("gif", gif), _url("gif", still), _url("png", strip)), "")


def _url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}" if data else ""
