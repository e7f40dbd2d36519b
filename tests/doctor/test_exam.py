"""The reflector's exam marks replies by the rules of a run."""

from __future__ import annotations

import pytest

from localgif.doctor.exam import items, mark
from localgif.tasks.suite import load_suite
from tests.support.kit import settings

SUITE = load_suite("single", "bouncing-ball")


@pytest.mark.parametrize(
    ("number", "reply", "why"),
    [
        (0, "Rule: Use a loop over 24 frames, one new picture in each.\n", ""),
        (0, "def make_gif(path):\n    pass\n", "function_for_rule"),
        (0, "", "empty"),
        (1, "Rule: Let the last frame lead back to the first one.\n", ""),
        (1, "Rule: Draw everything in a strong and friendly colour.\n", "is about something else"),
        (2, "Rule: Draw the ball in red on a white background in each frame.\n", ""),
        (2, "Rule: Use nice colours for everything that is drawn.\n", "duplicate"),
    ],
)
def test_a_reply_is_marked_as_in_a_run(number: int, reply: str, why: str) -> None:
    item = items(SUITE, settings("http://x"))[number]
    assert "Rule:" in item.request
    assert mark(item, reply, "stop", SUITE) == why
