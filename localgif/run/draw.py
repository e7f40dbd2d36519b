"""Draws what a sentence asks for: tries prompt after prompt, measures each answer, and searches for better programs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Literal, NamedTuple

from localgif.agent import form
from localgif.agent.graph import Rendered, compile_animator
from localgif.endpoint.clients import Animator
from localgif.errors import ConfigError
from localgif.gif import score
from localgif.records import Measurements, Record, Score, Verdict
from localgif.run.roles import open_roles
from localgif.sandbox import probe
from localgif.search.assignments import finder, first_scene, glimpse
from localgif.search.evaluator import sample_seed
from localgif.search.number_search import tune
from localgif.search.programs import Trial, render
from localgif.search.progress import Progress, Silent
from localgif.settings import ENOUGH, Settings
from localgif.tasks.sentence import Reading, find
from localgif.tasks.task import missed, phrase_of

#: At most this many answers of the model.
TRIES = 4
#: First sample index of drawings, so that no sample of a run has the same seed.
_DRAWN_FROM = 2_000_000
#: Added to the temperature in each further round over the prompts; the temperature stays at most 2.
_WARMER = 0.3
#: Seconds between two progress messages about an answer that is being written.
_OFTEN = 0.25

Outcome = Literal["checked", "not right yet", "unchecked", "no GIF"]


class Answer(Record):
    """One answer of the model."""

    prompt: int
    """Number of the prompt, counted from 1."""
    temperature: float
    seed: int
    verdict: Verdict
    reason: str
    total: float | None
    """Score by the strict rule, 0 to 1; None if the brief cannot be checked."""
    output_tokens: int
    seconds: float
    """Time that the model took."""


class Drawn(Record):
    """A drawing; `--json` prints all fields except the GIF."""

    outcome: Outcome
    line: str
    """The outcome in a sentence."""
    brief: str
    unchecked: tuple[str, ...]
    """Parts of the brief that no check covers."""
    answers: tuple[Answer, ...]
    searched: bool
    """Whether the search over formulas and numbers made the picture, not an answer alone."""
    programs: int
    """Number of programs that the search ran."""
    verdict: Verdict
    reason: str
    score: Score | None
    """By the strict rule; None if the brief cannot be checked."""
    measurements: Measurements | None
    gif: bytes | None
    """The best GIF; None if no answer drew one."""


def draw(
    settings: Settings, prompts: Sequence[str], brief: str, progress: Progress | None = None, tries: int = TRIES
) -> Drawn:
    """Draw a brief and check the picture, until one is right or the tries are used up.

    Each prompt is tried once, then each again at a higher temperature and with another seed. An imperfect picture
    starts a search over formulas and numbers at once: the search takes seconds, another answer a minute. A program
    without a picture starts one only if no answer drew a picture.

    Args:
        settings: Only the animator, the seed, the sandbox level and the limits matter.
        prompts: System prompts, the most promising first; at least one.
        brief: A sentence, the name of a shipped task, or the path of a task file.
        progress: Receives progress events.
        tries: At most this many answers of the model.

    Raises:
        ConfigError: The brief cannot be read, or there is no prompt.
        PreflightError, EndpointError, SandboxError: As in a run.
    """
    if not prompts or tries < 1:
        raise ConfigError(
            "a drawing needs at least one prompt and one try", "give a system prompt, and at least 1 for tries"
        )
    reading = find(brief)
    progress = progress or Silent()
    probe.decide(settings.sandbox_level)
    drawing = _Drawing(settings, reading, progress)
    with open_roles(settings, progress) as roles:
        answer, found = drawing.ask(prompts, roles.animator_url, tries)
    if answer is not None and answer.rendered.gif is None:
        found = drawing.improved(answer)
    return drawing.result(found, searched=found is not answer)


class _Plan(NamedTuple):
    """One try."""

    number: int
    prompt: int
    temperature: float
    seed: int


def _plan(settings: Settings, prompts: int, tries: int) -> Iterator[_Plan]:
    for number in range(tries):
        rounds, prompt = divmod(number, prompts)
        warm = round(min(2.0, settings.animator.temperature + _WARMER * rounds), 2)
        yield _Plan(number + 1, prompt, warm, sample_seed(settings.seed, _DRAWN_FROM + number))


class _Drawing:
    """The state of one drawing: its brief, its answers, and the programs that ran for it."""

    def __init__(self, settings: Settings, reading: Reading, progress: Progress) -> None:
        self._settings = settings
        self._reading = reading
        self._task = reading.task
        self._progress = progress
        self._answers: list[Answer] = []
        self._last: Rendered | None = None
        self._known: dict[str, Rendered] = {}
        self._programs = 0
        self._top = 0.0

    def enough(self, trial: Trial) -> bool:
        """Whether a picture is right, as far as the brief can be checked."""
        return trial.score.total >= ENOUGH

    def ask(self, prompts: Sequence[str], url: str, tries: int) -> tuple[Trial | None, Trial | None]:
        """The best answer with a program, and the best program found from it; (None, None) without a program."""
        answer: Trial | None = None
        found: Trial | None = None
        with contextlib.ExitStack() as stack:
            animators: dict[float, Animator] = {}
            for plan in _plan(self._settings, len(prompts), tries):
                if plan.temperature not in animators:
                    model = self._settings.animator.model_copy(update={"temperature": plan.temperature})
                    animators[plan.temperature] = stack.enter_context(Animator(model, url, self._progress.note))
                trial = self._try(plan, prompts, tries, animators[plan.temperature])
                if trial is None or (found is not None and trial.rank <= found.rank):
                    continue
                answer = trial
                found = self.improved(trial) if trial.rendered.gif is not None else trial
                if self.enough(found):
                    break
        return answer, found

    def _try(self, plan: _Plan, prompts: Sequence[str], tries: int, animator: Animator) -> Trial | None:
        head = f"try {plan.number} of {tries}"
        if len(prompts) > 1:
            head += f", prompt {plan.prompt + 1} of {len(prompts)}"
        shown = first = last = 0.0
        before = newest = 0

        def count(tokens: int) -> None:
            nonlocal shown, first, last, before, newest
            now = last = time.monotonic()
            if tokens <= newest:  # an answer phrase by phrase consists of several replies with counts of their own
                before += newest
            newest = tokens
            # Starts at the first token, so that the pace is that of writing, not of reading the prompt.
            first = first or now
            if now - shown >= _OFTEN:
                shown = now
                self._progress.activity(f"{head}: {_pace(before + tokens, now - first)}")

        def run(code: str) -> Rendered:
            self._progress.activity(f"{head}: running and measuring")
            return self._render(code)

        self._progress.activity(f"{head}: the model reads the prompt")
        animator.on_token = count
        # No repairs: one costs as much as another try, and seldom works with small models.
        graph = compile_animator(prompts[plan.prompt], self._task.brief, animator.write, run, attempts=1)
        made = graph(plan.seed)[-1]
        written, self._last = made.written, made.rendered
        given = self._score(made.rendered)
        self._answers.append(
            Answer(
                prompt=plan.prompt + 1,
                temperature=plan.temperature,
                seed=plan.seed,
                verdict=made.rendered.verdict,
                reason=made.rendered.reason,
                total=given.total if self._reading.checkable else None,
                output_tokens=written.output_tokens,
                seconds=round(written.seconds, 3),
            )
        )
        line = self._line(made.rendered, given)[1]
        self._progress.note(f"{head}: {_pace(written.output_tokens, last - first)}; {line}")
        return None if made.code is None else Trial(made.code, made.rendered, given)

    def improved(self, start: Trial) -> Trial:
        """The best program that a run's searches find from an answer; the answer itself if none is better.

        Without a check of the brief there is no search, because all programs would score the same.
        """
        if not self._reading.checkable or self.enough(start):
            return start
        self._progress.note("searching: other formulas and numbers for what the model drew")
        best, scene = start, form.read(start.code)
        with ThreadPoolExecutor() as pool:

            def measure(codes: Sequence[str]) -> list[Trial]:
                new = [code for code in dict.fromkeys(codes) if code not in self._known]
                rendered = dict(zip(new, pool.map(self._render, new), strict=True))
                self._known.update(rendered)
                self._programs += len(new)
                trials = [Trial(code, self._known[code], self._score(self._known[code])) for code in codes]
                self._top = max([self._top, *(trial.score.total for trial in trials)])
                self._progress.activity(
                    f"trying formulas and numbers: {self._programs} programs, best score {self._top:.3f}"
                )
                return trials

            self._top = start.score.total
            if scene is None:
                # A program outside the form keeps its drawing if other numbers are enough.
                if start.rendered.gif is not None:
                    best = tune(start, measure, self._task.targets, ENOUGH)
                scene = glimpse(start.code, self._task)
            if not self.enough(best):
                # Search from the better of two programs: from what the model drew, and from the brief's phrases.
                starts = [each for each in (scene, first_scene(self._task.brief)) if each is not None]
                codes = [form.program(each, self._task.brief, self._task.targets) for each in starts]
                trials = measure(codes)
                at = max(range(len(trials)), key=lambda k: trials[k].rank)
                found = finder(starts[at], self._task, ENOUGH)(trials[at], measure)
                # The answer wins a tie: the search added nothing.
                best = max(best, found, key=lambda trial: (trial.score.total, trial.rendered.gif is not None))
        return best

    def _render(self, code: str) -> Rendered:
        return render(code, self._settings.limits)

    def _score(self, rendered: Rendered) -> Score:
        if rendered.measurements is None:
            return score.no_gif("strict", rendered.reason)
        return score.of("strict", rendered.measurements, self._task)

    def result(self, trial: Trial | None, *, searched: bool) -> Drawn:
        """The result; without a program the last answer shows why."""
        rendered = trial.rendered if trial is not None else self._last
        assert rendered is not None, "ask() tries at least once"
        given = trial.score if trial is not None else self._score(rendered)
        outcome, line = self._line(rendered, given)
        if outcome == "no GIF":
            line = f"no GIF in {len(self._answers)} {'try' if len(self._answers) == 1 else 'tries'}: {line}"
        if searched:
            line += f"; found by a search over formulas and numbers ({self._programs} programs), not by the model alone"
        if self._reading.unchecked and outcome != "no GIF":
            line += f"; not checked: {', '.join(repr(words) for words in self._reading.unchecked)}"
        return Drawn(
            outcome=outcome,
            line=line,
            brief=self._task.brief,
            unchecked=self._reading.unchecked,
            answers=tuple(self._answers),
            searched=searched,
            programs=self._programs,
            verdict=rendered.verdict,
            reason=rendered.reason,
            score=given if self._reading.checkable else None,
            measurements=rendered.measurements,
            gif=rendered.gif,
        )

    def _line(self, rendered: Rendered, given: Score) -> tuple[Outcome, str]:
        m = rendered.measurements
        if m is None:
            return "no GIF", f"{rendered.verdict}, {rendered.reason}"
        closes = next((part.value for part in given.parts if part.name == "loop"), 0.0) >= ENOUGH
        facts = f"{m.frames} frames, {'closes' if closes else 'does not close'}, {sum(m.delays_ms) / 1000:g} s"
        if not self._reading.checkable:
            return "unchecked", f"unchecked, localgif cannot check anything in this brief: {facts}"
        if given.total >= ENOUGH:
            return "checked", f"checked: {facts}, {phrase_of(self._task)}"
        worst = min(given.parts, key=lambda part: part.weight * (part.value - 1))
        # Rounded down, so that 0.969 does not look like the 0.97 that is enough.
        return "not right yet", f"not right yet: {missed(self._task, worst)} ({int(100 * given.total) / 100:.2f})"


def _pace(tokens: int, seconds: float) -> str:
    """Tokens and tokens per second in words; `seconds` is the time from the first token to the last."""
    pace = f"{(tokens - 1) / seconds:.0f}" if seconds > 0 else "-"
    return f"{tokens} tokens, {pace} tokens/s"


# --- prompts that ship with localgif ----------------------------------------------------------------------------------

#: The file for models that do not have their own.
_USUAL = "qwen2.5-coder-1.5b.json"


class Shipped(Record):
    """The front of a general run, and how the run was made. A search never reads it: a run finds everything itself."""

    model: str
    """The animator's name on its endpoint."""
    digest: str | None
    """sha256 of its weights."""
    command: str
    version: str
    """Version of localgif that made it."""
    date: str
    """Start of the run, ISO 8601."""
    tested: tuple[str, ...]
    """The held-out tasks, which the search never saw."""
    seed_mean: float
    """Mean score of fresh samples of the seed prompt on `tested`."""
    best_mean: float
    """The same for the first prompt alone."""
    front_mean: float
    """The same for all prompts, keeping the best measured answer."""
    prompts: tuple[str, ...]
    """The best prompt on average comes first."""


def shipped(model: str) -> Shipped:
    """The prompts that were made with a model, or those of the default animator."""
    name = model.removesuffix(":latest").replace(":", "-")
    folder = resources.files("localgif.run") / "prompts"
    file = folder / f"{name}.json"
    return Shipped.model_validate_json((file if file.is_file() else folder / _USUAL).read_bytes())
