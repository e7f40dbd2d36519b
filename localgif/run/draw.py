"""Draw one GIF of any brief with a run's evolved prompt: ask, run in the sandbox, measure."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from localgif.agent.graph import Rendered, compile_animator
from localgif.endpoint.clients import Animator
from localgif.errors import ConfigError
from localgif.gif import score
from localgif.records import Measurements, Record, Score, Verdict
from localgif.run.roles import open_roles
from localgif.sandbox import probe
from localgif.search.evaluator import sample_seed
from localgif.search.programs import render
from localgif.search.progress import Progress
from localgif.settings import Settings
from localgif.tasks.task import Targets, Task

#: First index of drawings: no sample of a run has their seeds.
_DRAWN_FROM = 2_000_000


class Drawn(Record):
    """A drawing; `--json` prints all of it but the GIF itself."""

    gif: bytes | None
    """None if no attempt produced one."""
    brief: str
    verdict: Verdict
    reason: str
    attempts: int
    score: Score
    measurements: Measurements | None


def draw(settings: Settings, prompt: str, brief: str, targets: Targets, progress: Progress) -> Drawn:
    """Draw a brief of 3 to 400 characters once, with up to two repairs, like a sample of a run; raises as a run.

    Args:
        settings: Only the animator, the seed and the limits count.
        targets: Frames, duration and size that the score is measured against.
    """
    try:
        task = Task(name="drawing", brief=brief, targets=targets)
    except ValidationError as error:
        raise ConfigError(
            f"this cannot be drawn: {error.errors()[0]['msg']}", "a brief has 3 to 400 characters"
        ) from None
    probe.decide(settings.sandbox_level)

    def run(code: str) -> Rendered:
        progress.activity("running and measuring")
        return render(code, settings.limits)

    with (
        open_roles(settings, progress) as roles,
        Animator(settings.animator, roles.animator_url, progress.note) as animator,
    ):

        def write(messages: Any, seed: int, finished: Any) -> Any:
            progress.activity("writing code")
            return animator.write(messages, seed, finished)

        attempts = compile_animator(prompt, brief, write, run)(sample_seed(settings.seed, _DRAWN_FROM))
    last = attempts[-1].rendered
    # No task file says what a free brief must show, so only frames, loop, pace and size are scored.
    given = score.of("article", last.measurements, task) if last.measurements else score.no_gif("article", last.reason)
    return Drawn(
        gif=last.gif,
        brief=brief,
        verdict=last.verdict,
        reason=last.reason,
        attempts=len(attempts),
        score=given,
        measurements=last.measurements,
    )
