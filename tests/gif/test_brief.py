"""Each shipped task can be done, and a GIF with one thing wrong scores lower in the part that is about that thing."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from localgif.gif.score import strict
from localgif.records import Measurements, Score
from localgif.tasks.task import load_task, task_names
from tests.support.scenes import REFERENCES, measured, near_misses

#: A ball that bounces over a floor is a bouncing ball too.
ALSO = {("bouncing-ball", "ball-over-bar")}


@functools.cache
def reference(name: str) -> Measurements:
    return measured(REFERENCES[name])


def values(score: Score) -> dict[str, float]:
    return {part.name: part.value for part in score.parts}


def test_every_task_has_its_reference() -> None:
    assert sorted(REFERENCES) == list(task_names())


@pytest.mark.slow
@pytest.mark.parametrize("name", task_names())
def test_the_reference_scores_full_and_each_near_miss_loses_in_its_part(name: str) -> None:
    task = load_task(name)
    full = strict(reference(name), task)
    assert full.total >= 0.98, [p for p in full.parts if p.value < 1]
    misses = list(near_misses(task, REFERENCES[name]))
    assert len(misses) >= 10
    for label, scene, part in misses:
        score = strict(measured(replace(scene, smooth=False)), task)
        assert values(score)[part] < values(full)[part], label
        assert score.total <= full.total - 0.1, (label, score.total)


@pytest.mark.parametrize("name", task_names())
def test_no_task_is_shown_by_the_reference_of_another(name: str) -> None:
    task = load_task(name)
    others = [other for other in REFERENCES if other != name and (name, other) not in ALSO]
    best = {other: strict(reference(other), task).total for other in others}
    assert max(best.values()) <= 0.6, max(best, key=lambda other: best[other])
