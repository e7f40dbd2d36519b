"""The diagram of README.md and docs/index.md as SVG: how a run goes round. Dark where the reader's system is dark."""

from __future__ import annotations

from typing import NamedTuple
from xml.sax.saxutils import escape


class Box(NamedTuple):
    """A step: its place in pixels of the picture, its title, and its lines of text."""

    x: int
    y: int
    width: int
    title: str
    lines: tuple[str, ...]


#: The steps in their order; the last one leads back to the first.
STEPS = (
    Box(20, 20, 200, "1  Prompt", ("the system prompt,", "and a brief:", "“a red ball bouncing”")),
    Box(290, 20, 200, "2  Model", ("a local model writes", "a Pillow program,", "phrase by phrase")),
    Box(560, 20, 200, "3  Sandbox", ("a confined process", "runs the program")),
    Box(560, 190, 200, "4  Measurement", ("24 frames? closed?", "a red ball bouncing?", "score 0 to 1")),
    Box(20, 190, 470, "5  Search and reflector", (
        "a search without a model finds an example program;",
        "if it finds none, a second model reads the numbers;",
        "GEPA keeps a new prompt if it scores more",
    )),
)  # fmt: skip
HEIGHT, WIDTH, BOX = 320, 780, 110
#: What goes from step to step: the line's points, its words, and where they stand.
ARROWS = (
    ("M220 75 H284", "", 0, 0),
    ("M490 75 H554", "program", 522, 65),
    ("M660 130 V184", "GIF", 680, 162),
    ("M560 245 H496", "numbers", 525, 235),
    ("M120 190 V136", "new prompt", 165, 168),
)
_STYLE = """
text { font: 15px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 }
.page { fill: #ffffff } .box { fill: #eef5f2; stroke: #1b7a5a; stroke-width: 1.5 }
.line { fill: none; stroke: #1b7a5a; stroke-width: 2 } .head { fill: #1b7a5a } .small { font-size: 13px }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .page { fill: #0d1117 } .box { fill: #14241f; stroke: #58c79b }
.line { stroke: #58c79b } .head { fill: #58c79b } }
"""


def diagram() -> str:
    """The text of the SVG file."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t">',
        '<title id="t">A run: prompt, model, sandbox, measurement, search and reflector, and a new prompt</title>',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
    ]
    for line, words, x, y in ARROWS:
        parts.append(f'<path class="line" d="{line}" marker-end="url(#head)"/>')
        if words:
            parts.append(f'<text class="small" x="{x}" y="{y}" text-anchor="middle">{escape(words)}</text>')
    for box in STEPS:
        parts.append(f'<rect class="box" x="{box.x}" y="{box.y}" width="{box.width}" height="{BOX}" rx="8"/>')
        parts.append(f'<text class="title" x="{box.x + 14}" y="{box.y + 27}">{escape(box.title)}</text>')
        parts += [
            f'<text x="{box.x + 14}" y="{box.y + 51 + 21 * number}">{escape(text)}</text>'
            for number, text in enumerate(box.lines)
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
