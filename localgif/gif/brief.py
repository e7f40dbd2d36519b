"""Whether a GIF shows what its task asks for: named parts, each 0 to 1 with a reason. Pure.

The worst subject decides each part: if a task asks for two things, both must be there. strict-3 uses only these parts;
eye.py adds those of strict-4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from localgif.gif.tracks import PATHS, SHAPES, SIZES, Judged, Seen, Track, pairs, ramp, shape_seen, spin
from localgif.records import Looks, Piece
from localgif.tasks.task import Task

#: Part -> what the total loses, of 1, if the part is 0.
WEIGHTS = {
    "background": 0.5,
    "subject": 0.8,
    "visible": 0.4,
    "shape": 0.4,
    "path": 0.6,
    "place": 0.4,
    "scale": 0.5,
    "turn": 0.6,
    "blink": 0.6,
    "fade": 0.6,
    "cycle": 0.6,
    "inside": 0.5,
}

#: Share of the picture that background and subjects must cover together: full marks from the first on, 0 at the second.
_COVERED = (0.9, 0.6)
#: Share of the picture that a thing must cover where it is largest (a ball of 5 % of the width covers 0.2 %); at the
#: second share it counts as missing.
_VISIBLE = (0.0018, 0.0004)
#: A thing that touches the picture's edge is cut where it has less than this share of its largest area.
_WHOLE = 0.93
#: A thing that touches the edge in more than this share of the frames is cut in each of them.
_STAYS = 0.8


#: Judges one subject by one part: an answer for each of its things, none if the task leaves the part open.
Part = Callable[[Seen], Iterator[Judged]]


def judge(seen: list[Seen], parts: Mapping[str, Part]) -> dict[str, Judged]:
    """The parts about subjects that the task asks for, in the order of WEIGHTS.

    Args:
        seen: What tracks.follow() found.
        parts: PARTS for strict-3.
    """
    found: dict[str, Judged] = {}
    for name in [name for name in WEIGHTS if name in parts]:
        part = parts[name]
        judged = [answer for s in seen for answer in part(s)]
        if judged:
            found[name] = min(judged, key=lambda answer: answer[0])
    return found


def background(looks: Looks, task: Task) -> Judged:
    """Whether the background has its colour and nothing that nobody asked for covers it."""
    hues = {hue for one in task.subjects for hue in one.hues}
    values = []
    for name, cover, pieces in zip(looks.background, looks.cover, looks.pieces, strict=True):
        subjects = sum(p.area for p in pieces if p.colour in hues)
        values.append(ramp(cover + subjects, *_COVERED[::-1]) if name == task.background else 0.0)
    value = ramp(sum(values) / len(values), 0.5, 1.0)
    if value == 1:
        return 1.0, f"{task.background} background"
    others = [name for name in looks.background if name != task.background]
    if others:
        usual = max(set(others), key=others.count)
        return value, f"the background is {usual} in {len(others)} of {len(values)} frames, asked is {task.background}"
    return value, f"the {task.background} background is covered by things that nobody asked for"


def subject(seen: Seen) -> Iterator[Judged]:
    """Whether the thing is there: its colour, its number, and nothing else of its size."""
    wanted = seen.subject.count
    frames = [
        (count, others)
        for count, others in zip(seen.counts, seen.others, strict=True)
        if count or seen.subject.shown == "always"
    ]
    if not frames:
        yield 0.0, f"no {seen.subject.name} in any frame"
        return
    values = [
        max(0.0, 1 - abs(count - wanted) / wanted) * (0.5 if others else 1.0) if count else 0.0
        for count, others in frames
    ]
    value = sum(values) / len(values)
    usual = max(set(seen.counts), key=seen.counts.count)
    area = max((p.area for track in seen.tracks for p in track.pieces), default=0.0)
    if area < _VISIBLE[0] and not seen.stand_in:
        value *= ramp(area, *_VISIBLE[::-1])
        yield value, f"{seen.subject.name}, but hardly to be seen: at most {100 * area:.2f} % of the picture"
        return
    if value == 1:
        yield 1.0, f"{seen.subject.name} in every frame"
    elif seen.stand_in:
        yield value, f"no {seen.subject.name}: what is there is {seen.stand_in}"
    elif any(count != wanted for count, _ in frames):
        right = sum(count == wanted for count, _ in frames)
        yield value, f"{seen.subject.name} in {right} of {len(frames)} frames, mostly {usual} of that colour"
    else:
        yield value, f"{seen.subject.name}, but next to it things of its size that nobody asked for"


def each(seen: Seen, word: str, least: int, judged: Callable[[Track], Judged] | None) -> Iterator[Judged]:
    """Judge each thing (none without a judge); 0 if the GIF shows too few things, or one in too few frames."""
    if judged is None:
        return
    if len(seen.tracks) < seen.subject.count:
        yield 0.0, f"{seen.label}: {'not all are seen' if seen.tracks else 'nothing is seen'}, so no {word}"
        return
    for track in seen.tracks:
        if len(track.pieces) < least:
            yield 0.0, f"{seen.label}: seen in {len(track.pieces)} frames only, too few for a {word}"
        else:
            value, text = judged(track)
            yield value, f"{seen.label}: {text}"


def shape(seen: Seen) -> Callable[[Track], Judged] | None:
    """The judge of the shape that the task asks for; None if it leaves the shape open."""
    wanted = seen.subject.shape
    if wanted == "any":
        return None

    def judged(track: Track) -> Judged:
        value = SHAPES[wanted](track)
        return value, wanted if value == 1 else f"it looks like {shape_seen(track)}, asked is {wanted}"

    return judged


def _blink(seen: Seen) -> Iterator[Judged]:
    if seen.subject.shown != "blink":
        return
    there = [count > 0 for count in seen.counts]
    value = blinking(sum(there) / len(there), sum(a != b for a, b in pairs(there)))
    yield value, f"{seen.subject.name}: seen in {sum(there)} of {len(there)} frames"


def blinking(share: float, switches: int) -> float:
    """How well a thing blinks that shows for this share of a loop, and appears or disappears this often in it."""
    value = ramp(share, 0.05, 0.25) * ramp(share, 0.95, 0.75) * (1.0 if switches >= 2 else 0.0)
    return value * ramp(switches, 16, 10)


def cycle(seen: Seen) -> Iterator[Judged]:
    """Whether the thing takes each of its colours: the share of the colours after the first."""
    wanted = seen.subject.colours
    if not wanted:
        return
    least = max(1, 0.05 * seen.total)
    shown = [hue for hue in wanted if seen.hues.count(hue) >= least]
    # One colour alone is not a change.
    value = (len(shown) - 1) / (len(wanted) - 1) if shown else 0.0
    missing = [hue for hue in wanted if hue not in shown]
    words = f"{', '.join(shown) or 'none'} seen in turns" + (f", {', '.join(missing)} missing" if missing else "")
    yield value, f"{seen.subject.name}: {words}"


def _inside(seen: Seen) -> Iterator[Judged]:
    if not seen.subject.inside:
        return
    if not seen.tracks:
        yield 0.0, f"{seen.label}: nothing is seen"
        return
    wanted = seen.subject.count
    for track in seen.tracks:
        cut, gone = _cut(track, seen.subject.size == "constant"), 0
        if seen.subject.shown == "always":
            gone = seen.total - len(track.pieces) if seen.stand_in else sum(count < wanted for count in seen.counts)
        text = f"{seen.label}: inside the picture"
        if cut or gone:
            text = f"{seen.label}: cut by the edge in {cut} frames, missing in {gone} of {seen.total}"
        yield ramp((cut + gone) / seen.total, 0.34, 0.0), text


def touches_edge(piece: Piece) -> bool:
    """Whether a piece touches the picture's edge."""
    return min(piece.left, piece.top) <= 0.001 or max(piece.right, piece.bottom) >= 0.999


def _cut(track: Track, constant: bool) -> int:
    """In how many frames the picture's edge cuts a thing.

    A thing that rests on the floor touches the edge too. It is cut if it is smaller there than elsewhere, or if it
    hardly ever leaves the edge. If a thing changes its size, every touch counts as a cut.
    """
    largest = max(p.area for p in track.pieces)
    touching = [p for p in track.pieces if touches_edge(p)]
    if not constant or len(touching) > _STAYS * len(track.pieces):
        return len(touching)
    return sum(p.area < _WHOLE * largest for p in touching)


#: The parts about subjects, and how each judges one subject.
PARTS: dict[str, Part] = {
    "subject": subject,
    "shape": lambda seen: each(seen, "shape", 1, shape(seen)),
    "path": lambda seen: each(seen, "path", 3, PATHS.get(seen.subject.path)),
    "scale": lambda seen: each(seen, "size", 2, SIZES.get(seen.subject.size)),
    "turn": lambda seen: each(seen, "turn", 3, spin if seen.subject.turn == "spin" else None),
    "blink": _blink,
    "cycle": cycle,
    "inside": _inside,
}
