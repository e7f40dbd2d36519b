"""The pictures of the report: tiles and pairs of samples, with GIFs embedded up to a limit."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from localgif.errors import RunCorrupt
from localgif.records import Sample, ScorePart
from localgif.report.story import Candidate
from localgif.sandbox.intake import BadGif, first_frame
from localgif.store.read import StoredRun

#: At most this many bytes of pictures are embedded. Base64 adds a third, and the page should stay below 25 MB.
ROOM = 15 * 2**20
#: Longer texts are cut, characters: a program may have 200 KB, and a page hundreds of programs.
LONGEST_TEXT = 20_000
#: At most this many pairs are shown side by side; the gallery has all.
MAX_PAIRS = 8

PURPOSES = {"search": "search", "retest": "re-test", "fresh": "fresh"}


@dataclass(frozen=True)
class Picture:
    """An embedded GIF."""

    source: str
    """data: URL."""
    still: str | None
    """data: URL of the first frame; None with a single frame."""
    strip: str | None
    """data: URL of a PNG with all frames, if there is one."""
    width: int
    height: int
    alt: str


@dataclass
class Tile:
    """Samples with the same program, GIF and reasons, shown once."""

    candidate: Candidate
    labels: list[str]
    purposes: set[str]
    sample: Sample
    """One of them."""
    picture: Picture | None
    absent: str
    """Why there is no picture, or ""."""
    code: str
    weakest: ScorePart | None
    score: float
    others: list[tuple[str, float]] = field(default_factory=list)
    """Name and score of each other rule."""

    @property
    def facts(self) -> str:
        """Frames, seconds per loop, size, and the loop ratio."""
        m = self.sample.measurements
        if m is None:
            return ""
        seam = f", loop\N{NO-BREAK SPACE}{m.gap / m.motion:.1f}" if m.motion > 0 else ""
        words = (
            f"{m.frames} frame{'s' if m.frames != 1 else ''}",
            f"{sum(m.delays_ms) / 1000:.2f} s",
            f"{m.size / 1024:.1f} KB",
        )
        return ", ".join(word.replace(" ", "\N{NO-BREAK SPACE}") for word in words) + seam


@dataclass(frozen=True)
class Pair:
    """Samples of the seed prompt and of the best one with the same task and index, so the same model seed."""

    label: str
    seed: Tile
    best: Tile | None


class Gallery:
    """Makes tiles and pairs; embeds GIFs up to `room` bytes and remembers files that cannot be read.

    Args:
        run: The run.
        programs: Hash -> text; None for a missing file.
        briefs: Task -> brief.
        strips: Hash of a GIF -> PNG with its frames.
        room: Bytes of pictures to embed.
    """

    def __init__(
        self,
        run: StoredRun,
        programs: Mapping[str, str | None],
        briefs: Mapping[str, str],
        strips: Mapping[str, bytes],
        room: int = ROOM,
    ) -> None:
        self.left_out = 0
        self.missing: list[str] = []
        self._run = run
        self._programs = programs
        self._briefs = briefs
        self._strips = strips
        self._room = room
        self._read: dict[str, tuple[bytes, bytes] | None] = {}

    def tiles(self, candidates: Iterable[Candidate]) -> list[Tile]:
        """All samples by candidate; equal ones share a tile."""
        tiles: list[Tile] = []
        for candidate in candidates:
            same: dict[object, Tile] = {}
            count: dict[str, int] = {}
            for sample in candidate.samples:
                count[sample.purpose] = count.get(sample.purpose, 0) + 1
                reasons = tuple(a.reason for a in sample.attempts)
                key = (sample.task, sample.code, sample.gif, sample.verdict, sample.score, reasons)
                if key not in same:
                    same[key] = self._tile(candidate, sample)
                    tiles.append(same[key])
                same[key].labels.append(f"{PURPOSES[sample.purpose]} {count[sample.purpose]}")
                same[key].purposes.add(sample.purpose)
        return tiles

    def pairs(self, seed: Candidate | None, best: Candidate | None) -> tuple[list[Pair], int, str]:
        """Pairs to show, the number of all pairs, and their purpose: fresh samples, else search samples."""
        if seed is None:
            return [], 0, "fresh"
        purpose = "fresh" if seed.scores("fresh") else "search"
        ours = {(s.task, s.index): s for s in seed.samples if s.purpose == purpose}
        others = best.samples if best is not None and best is not seed else []
        theirs = {(s.task, s.index): s for s in others if s.purpose == purpose}
        keys = [key for key in ours if key in theirs] or list(ours)
        several = len({task for task, _ in keys}) > 1
        pairs = [
            Pair(
                f"{number}, {key[0]}" if several else f"{number}",
                self._tile(seed, ours[key]),
                self._tile(best, theirs[key]) if best is not None and key in theirs else None,
            )
            for number, key in enumerate(keys[:MAX_PAIRS], 1)
        ]
        return pairs, len(keys), purpose

    def _tile(self, candidate: Candidate, sample: Sample) -> Tile:
        of = "the seed prompt" if candidate.name == "seed" else f"candidate {candidate.name}"
        count = sample.measurements.frames if sample.measurements else 0
        frames = f", {count} frame{'s' if count != 1 else ''}" if count else ""
        alt = f"GIF by {of}{frames}, score {sample.score.total:.3f}; brief: {self._briefs[sample.task]}"
        picture, absent = self._picture(sample, alt)
        below = [part for part in sample.score.parts if part.value < 0.995]
        return Tile(
            candidate=candidate,
            labels=[],
            purposes=set(),
            sample=sample,
            picture=picture,
            absent=absent,
            code=(self._programs.get(sample.code) or "") if sample.code else "",
            weakest=min(below, key=lambda part: part.value) if below else None,
            score=sample.score.total,
            others=[(score.scorer, score.total) for score in sample.also],
        )

    def _picture(self, sample: Sample, alt: str) -> tuple[Picture | None, str]:
        """The picture of a sample, or why there is none."""
        if sample.gif is None or sample.measurements is None:
            return None, sample.verdict.value.replace("_", " ")
        found = self._load(sample.gif)
        if found is None:
            return None, "its file is missing or was changed"
        gif, first = found
        animated = sample.measurements.frames > 1
        strip = self._strips.get(sample.gif) if animated else None
        size = len(gif) + (len(first) if animated else 0) + len(strip or b"")
        if size > self._room:
            self.left_out += 1
            return None, "not embedded, the page is full"
        self._room -= size
        return Picture(
            source=_url("gif", gif),
            still=_url("gif", first) if animated else None,
            strip=_url("png", strip) if strip else None,
            width=sample.measurements.width,
            height=sample.measurements.height,
            alt=alt,
        ), ""

    def _load(self, name: str) -> tuple[bytes, bytes] | None:
        if name not in self._read:
            try:
                data = self._run.data("gifs", name)
                self._read[name] = data, first_frame(data)
            except (RunCorrupt, BadGif):
                self.missing.append(f"gifs/{name}.gif")
                self._read[name] = None
        return self._read[name]


def _url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()
