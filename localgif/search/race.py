"""How many samples a candidate gets, and whether it beats its parent: decisions from paired scores. Pure.

Sample i of every candidate is asked with the same seed, so a child is compared with its parent index by index.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

#: A child whose first sample is this far below its parent's gets no second one.
BADLY = 0.15
#: Below this a first sample has failed badly whatever the parent did: no GIF, or one that does not move.
HOPELESS = 0.3
#: What a child must gain, on average over the shared indices, to count as better.
MARGIN = 0.001


def goes_on(scores: Sequence[float], rivals: Mapping[int, float]) -> bool:
    """Whether a candidate deserves its next sample.

    Args:
        scores: Its samples so far, by index from 0; at least one.
        rivals: Its parent's scores by index; empty for the seed.
    """
    shared = [(score, rivals[i]) for i, score in enumerate(scores) if i in rivals]
    if not shared:
        return scores[-1] >= HOPELESS
    difference = sum(own - other for own, other in shared) / len(shared)
    return difference > -BADLY and (scores[-1] >= HOPELESS or difference > 0)


def beats(child: Mapping[K, float], parent: Mapping[K, float]) -> bool:
    """Whether a child is better than its parent on the samples (task and index) that both have."""
    shared = child.keys() & parent.keys()
    if not shared:
        return False
    return sum(child[i] - parent[i] for i in shared) / len(shared) > MARGIN
