"""A model that goes round in circles: seen in its text while it streams."""

from __future__ import annotations

#: So many equal blocks in a row are a loop.
TIMES = 4
#: Shortest block, characters (about 12 tokens); shorter repetitions are common in tables of numbers and in drawings.
SHORTEST = 48
#: Longest block, characters (about 200 tokens).
LONGEST = 800


def loops(text: str) -> bool:
    """Whether the text ends in the same block of 48 to 800 characters four times."""
    longest = min(LONGEST, len(text) // TIMES)
    for size in range(SHORTEST, longest + 1):
        block = text[-size:]
        if text[-2 * size : -size] == block and text.endswith(block * TIMES):
            # A block of blanks or of one sign is a drawing or an indentation, not a thought.
            return len(set(block)) > 2
    return False
