"""One GIF with a prompt that a run evolved, for any brief: ask, run in the sandbox, measure."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import ValidationError

from localgif.agent.graph import Rendered, compile_animator
from localgif.endpoint.clients import Animator
from localgif.errors import ConfigError
from localgif.gif import score
from localgif.run.roles import open_roles
from localgif.sandbox import probe
from localgif.search.evaluator import sample_seed
from localgif.search.programs import render
from localgif.search.progress import Progress
from localgif.settings import Settings
from localgif.tasks.task import Targets, Task

#: Drawings are numbered from here: their seeds are those of no sample of a run.
DRAWN_FROM = 2_000_000


class Drawn(NamedTuple):
    """A drawing; `gif` is None when no attempt gave one."""

    gif: bytes | None
    facts: dict[str, Any]
    """The object that `--json` prints, without the file."""


def draw(settings: Settings, prompt: str, brief: str, targets: Targets, progress: Progress) -> Drawn:
    """Draw once, with up to two repairs, as a sample of a run is drawn.

    Args:
        settings: Who draws, with which seed, under which limits.
        prompt: The system prompt.
        brief: What to draw, 3 to 400 characters.
        targets: Frames, loop_ms, max_bytes, max_side: what the technique is measured against.
        progress: Who is told.

    Raises:
        ConfigError: the brief cannot be one.
        PreflightError, EndpointError, SandboxError: as for a run.
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

        attempts = compile_animator(prompt, brief, write, run)(sample_seed(settings.seed, DRAWN_FROM))
    last = attempts[-1].rendered
    # What a free brief asks to show, no task file says: only frames, loop, pace and size can be measured.
    given = score.of("article", last.measurements, task) if last.measurements else score.no_gif("article", last.reason)
    return Drawn(
        last.gif,
        {
            "brief": brief,
            "verdict": last.verdict.value,
            "reason": last.reason,
            "attempts": len(attempts),
            "score": given.model_dump(mode="json"),
            "measurements": last.measurements.model_dump(mode="json") if last.measurements else None,
        },
    )
