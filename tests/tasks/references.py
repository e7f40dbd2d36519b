"""For every shipped task a scene that shows it: the proof that the task can be done."""

from __future__ import annotations

from collections.abc import Callable

from tests.tasks.scenes import Scene, Thing, bounce, fade, fixed, ring, wave


def in_turns(*colours: str) -> Callable[[float], str]:
    """The colours one after the other, each for the same time."""
    return lambda t: colours[int(t * len(colours)) % len(colours)]


def slow_then_quick(low: float, high: float) -> Callable[[float], float]:
    """Up in five sixths of the loop, down in the rest."""

    def curve(t: float) -> float:
        share = t * 6 / 5 if t < 5 / 6 else (1 - t) * 6
        return low + (high - low) * share

    return curve


REFERENCES: dict[str, Scene] = {
    "bouncing-ball": Scene("white", (Thing("red", y=bounce(0.82, 0.6)),)),
    "bouncing-square": Scene("black", (Thing("green", "square", y=bounce(0.8, 0.55), radius=fixed(0.09)),)),
    "two-balls": Scene(
        "white",
        (
            Thing("blue", x=fixed(0.3), y=wave(0.2, 0.8), radius=fixed(0.1)),
            Thing("blue", x=fixed(0.7), y=wave(0.2, 0.8, 0.5), radius=fixed(0.1)),
        ),
    ),
    "spinning-square": Scene("white", (Thing("blue", "square", radius=fixed(0.2), angle=lambda t: 360 * t),)),
    "spinning-bar": Scene("yellow", (Thing("black", "bar", radius=fixed(0.2), angle=lambda t: 180 * t),)),
    "spinning-star": Scene("black", (Thing("yellow", "star", radius=fixed(0.25), angle=lambda t: 360 * t),)),
    "pulsing-circle": Scene("white", (Thing("red", radius=wave(0.1, 0.3)),)),
    "pulsing-square": Scene("yellow", (Thing("blue", "square", radius=wave(0.1, 0.25)),)),
    "breathing-triangle": Scene("black", (Thing("green", "triangle", radius=wave(0.12, 0.25), angle=fixed(60)),)),
    "filling-bar": Scene(
        "grey",
        (
            Thing(
                "green",
                "own",
                x=lambda t: 0.1 + slow_then_quick(0.04, 0.38)(t),
                points=((-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)),
                radius=slow_then_quick(0.04, 0.38),
            ),
        ),
    ),
    "sliding-square": Scene("white", (Thing("red", "square", x=wave(0.2, 0.8)),)),
    "orbiting-ball": Scene("white", (Thing("blue", x=ring(0.5, 0.3), y=ring(0.5, 0.3, 0.25)),)),
    "diagonal-ball": Scene("black", (Thing("white", x=wave(0.15, 0.85), y=wave(0.15, 0.85)),)),
    "fading-circle": Scene("black", (Thing(fade("red", "yellow", "green", "yellow")),)),
    "fading-square": Scene("white", (Thing(fade("red", "blue", "green"), "square"),)),
    "moving-chameleon": Scene("white", (Thing(in_turns("red", "blue"), x=wave(0.2, 0.8)),)),
    "sun-and-planet": Scene(
        "black",
        (
            Thing("yellow", radius=fixed(0.15)),
            Thing("blue", x=ring(0.5, 0.35), y=ring(0.5, 0.35, 0.25), radius=fixed(0.06)),
        ),
    ),
    "ball-over-bar": Scene(
        "white",
        (
            Thing("red", y=bounce(0.75, 0.5), radius=fixed(0.1)),
            Thing(
                "black", "own", y=fixed(0.93), points=((-4, -0.4), (4, -0.4), (4, 0.4), (-4, 0.4)), radius=fixed(0.1)
            ),
        ),
    ),
    "blinking-light": Scene(
        "white",
        (
            Thing("red", y=fixed(0.2), radius=fixed(0.08), shown=lambda t: t < 0.5),
            Thing("blue", "square", x=wave(0.2, 0.8), y=fixed(0.7), radius=fixed(0.08)),
        ),
    ),
}
