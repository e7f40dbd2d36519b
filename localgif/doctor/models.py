"""Measures each model (window, speed, whether the server cuts prompts), and examines both roles."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from localgif.agent.graph import Rendered, compile_animator
from localgif.endpoint.clients import KEEP_ALIVE, Animator, Reflector
from localgif.endpoint.discover import allocated_window, ask_once, with_system_at
from localgif.endpoint.received import number, texts
from localgif.errors import EndpointError, LocalGifError
from localgif.files import read_notes, write_notes
from localgif.gif import score
from localgif.records import Reply
from localgif.run.checks import Check
from localgif.search.evaluator import prompt_of, sample_seed, seed_of
from localgif.search.moves import RULE_TOKENS, one_line
from localgif.search.programs import render
from localgif.search.progress import Progress, counted
from localgif.search.reflector import Rejected, facts, read_rule, sharpen_rule, write_rule
from localgif.settings import ModelSettings, Settings
from localgif.tasks.suite import Suite

# --- one question ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """An answer; counts and durations are the server's, and None if it does not report them."""

    text: str
    prompt_tokens: int | None
    """Tokens that the server read."""
    read_seconds: float | None
    """For the part of the prompt that was not in its cache."""
    output_tokens: int | None
    write_seconds: float | None
    seconds: float
    """The whole request, measured here."""


def ask(url: str, model: ModelSettings, prompt: str, *, longest: int, system: str = "") -> Said:
    """Ask a model once for at most `longest` tokens, with the window of a run; the server must not cut the prompt.

    Args:
        system: Text of a system message, which has the animator's prompt in a run.

    Raises:
        LocalGifError: The server does not answer, or refuses.
    """
    options = {"num_ctx": model.num_ctx, "num_predict": longest, "temperature": model.temperature, "seed": 1}
    plain = {"stream": False, "think": False, "truncate": False, "keep_alive": KEEP_ALIVE, "options": options}
    messages = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": prompt}]
    body = with_system_at({"model": model.model, "messages": messages, **plain}, model.system)
    place, started = model.endpoint.url or url, time.monotonic()
    answer = ask_once(url, body, place)
    message = answer.get("message")
    if not isinstance(message, dict) or "content" not in message:
        raise EndpointError(f"{place} did not answer: {model.model} returned no text", "read the server's log")
    return Said(
        texts(message["content"])[0],
        number(answer.get("prompt_eval_count")),
        _seconds(answer.get("prompt_eval_duration")),
        number(answer.get("eval_count")),
        _seconds(answer.get("eval_duration")),
        time.monotonic() - started,
    )


def _seconds(nanoseconds: object) -> float | None:
    return (number(nanoseconds) or 0) / 1e9 or None


# --- measuring -------------------------------------------------------------------------------------------------------

#: Share of the window that the canary fills.
_SHARE = 0.9
#: The canary is shorter if reading it would take longer than this, seconds, but never shorter than RUN_TOKENS.
CANARY_SECONDS = 25.0
#: Tokens of the longest prompts of usual runs.
RUN_TOKENS = 1200
#: A server that read less than this share of a prompt has cut it.
_READ_SHARE = 0.85
#: Lines of the first request; compared with a request without them they show how many tokens a line has.
_FIRST_LINES = 16
#: Tokens of a canary besides its lines and what the server adds to every prompt.
_AROUND = 40
_CODE_WORDS = ("heron", "walnut", "granite", "saffron", "pelican", "juniper", "marble", "cobalt")
_REPEATS = 3


@dataclass(frozen=True)
class Pace:
    """Tokens per second."""

    read: float
    write: float

    def seconds(self, read: int, written: int) -> float | None:
        """How long reading and writing this many tokens takes; None if a speed is unknown."""
        return read / self.read + written / self.write if self.read > 0 and self.write > 0 else None


class Measured:
    """Measures one model behind an endpoint."""

    def __init__(self, model: ModelSettings, url: str, progress: Progress) -> None:
        self.pace: Pace | None = None
        """Known after the first answer."""
        self.answers = True
        """False once the endpoint failed."""
        self._model = model
        self._url = url
        self._progress = progress
        self._first: int | None = None
        """Tokens of the first request."""
        self._bare: int | None = None
        """The same without lines: mostly what the server adds to every prompt."""
        self._window = model.num_ctx
        self._mark = str(random.randrange(100_000, 1_000_000))
        """Begins long prompts, so that no prompt is in a server's cache from an earlier measurement."""

    def checks(self) -> Iterator[Check]:
        """Window, speed with repeats, canary; an error of the server is a FAIL, and the rest is skipped."""
        name = self._model.model
        steps = ((f"endpoint {name}", self._endpoint), (f"speed {name}", self._speed), (f"canary {name}", self._canary))
        for title, step in steps:
            if not self.answers:
                yield Check.skipped(title, "the endpoint failed before")
                continue
            try:
                yield step(title)
            except LocalGifError as error:
                self.answers = False
                yield Check.raised(title, error)

    def _endpoint(self, title: str) -> Check:
        """Load the model, and read from the server what window it allocated."""
        self._progress.activity(f"asking {self._model.model} for the first time")
        prompt = filler(self._mark, _FIRST_LINES) + "\nAnswer with the word: ready"
        said = ask(self._url, self._model, prompt, longest=8)
        self._first = said.prompt_tokens
        read = _rate(said.prompt_tokens, said.read_seconds) or _rate(said.prompt_tokens, said.seconds) or 0.0
        self.pace = Pace(read, 0.0)
        window = allocated_window(self._url, self._model.model)
        wanted = self._model.num_ctx
        words = f"the first answer took {said.seconds:.1f} s"
        if window is None:
            remedy = "check that the canary below passes; an Ollama shows its window with: ollama ps"
            return Check.warned(title, f"{words}; the server does not say which window it allocated", remedy)
        self._window = window
        if window < wanted:
            return Check.failed(
                title,
                f"{words}; the server allocated a window of {window} tokens, but num_ctx is {wanted}",
                f"write num_ctx = {window} into its table of models.toml, or give the server a larger window",
            )
        return Check.passed(title, f"{words}, loaded with a window of {window} tokens")

    def _speed(self, title: str) -> Check:
        """Three identical requests: how fast the model writes, and how many different answers they get."""
        self._progress.activity(f"{self._model.model}: the same request {_REPEATS} times")
        answers = [ask(self._url, self._model, "Describe how a ball bounces.", longest=40) for _ in range(_REPEATS)]
        self._bare = answers[0].prompt_tokens
        rates = [rate for rate in (_rate(a.output_tokens, a.write_seconds or a.seconds) for a in answers) if rate]
        assert self.pace is not None
        self.pace = Pace(self.pace.read, sum(rates) / len(rates) if rates else 0.0)
        different = len({answer.text for answer in answers})
        words = f"reads {self.pace.read:.0f}, writes {self.pace.write:.1f} tokens/s"
        if not any(answer.text.strip() for answer in answers):
            remedy = "name another model (a model that only thinks and never answers cannot play a role)"
            return Check.failed(title, f"{words}; none of {_REPEATS} requests got any text", remedy)
        if different == 1:
            return Check.passed(title, f"{words}; {_REPEATS} identical requests got the same answer")
        return Check.warned(
            title,
            f"{words}; {_REPEATS} identical requests with one seed got {different} different answers",
            "this is not a fault, but a run with the same --seed may differ: judge by several samples",
        )

    def _canary(self, title: str) -> Check:
        """Ask for a word at the very top of a long prompt; if it comes back, the server did not cut the prompt.

        The long text is where a run's prompt is: for the animator in the system message.
        """
        assert self.pace is not None
        if self._first is None or self._bare is None or self._first <= self._bare:
            return Check.skipped(title, "the server does not say how many tokens it reads")
        per_line = (self._first - self._bare) / _FIRST_LINES
        affordable = int(self.pace.read * CANARY_SECONDS)
        target = min(int(_SHARE * self._window), max(RUN_TOKENS, affordable))
        lines = max(1, int((target - self._bare - _AROUND) / per_line))
        self._progress.activity(f"{self._model.model}: reading {target} tokens")
        word = random.choice(_CODE_WORDS)
        top, question = canary(word, self._mark[::-1], lines)
        if self._model.role == "animator":
            said = ask(self._url, self._model, question, longest=24, system=top)
        else:
            said = ask(self._url, self._model, f"{top}\n{question}", longest=24)
        return judge(title, said, word, int(lines * per_line), target, self._window, self.pace)


def filler(mark: str, lines: int) -> str:
    """Different meaningless lines of equal length, below a heading that contains `mark`."""
    boxes = (f"{1000 + n}. Box {10 + n * 37 % 90} holds {10 + n * 53 % 90} blue stones.\n" for n in range(lines))
    return f"List {mark}:\n" + "".join(boxes)


def canary(word: str, mark: str, lines: int) -> tuple[str, str]:
    """A long text that names a word at its top, and the question for it."""
    return (
        f"The code word is {word}. Remember the code word.\n\n{filler(mark, lines)}",
        "What is the code word that was given at the very top, before the list? Answer with that one word.",
    )


def judge(title: str, said: Said, word: str, expected: int, target: int, window: int, pace: Pace) -> Check:
    """The check for the answer to a canary; all counts are tokens.

    Args:
        word: The word at the top.
        expected: The list alone, by the first request's count.
        target: The whole prompt, as intended.
        window: The loaded model's window.
    """
    read = said.prompt_tokens
    share = 100 * (read or target) / window
    words = f"a prompt of {read if read is not None else f'about {target}'} tokens ({share:.0f} % of the window)"
    words += f" took {said.seconds:.0f} s"
    if read is not None and read < _READ_SHARE * expected:
        return Check.failed(
            title,
            f"the server read {read} of about {expected} tokens and reported no error: it cuts prompts",
            "update the server (an Ollama from version 0.12.6 on refuses instead), or raise its window",
        )
    if word not in said.text.lower():
        answer = " ".join(said.text.split())[:60]
        remedy = "the server may have cut it: lower num_ctx, or look at the server's log"
        if read is not None:
            remedy = "the server read the whole prompt, so the model is too weak for this length: name a larger model"
        return Check.warned(title, f"{words}; the word at its top did not come back (answer: {answer!r})", remedy)
    if target < int(_SHARE * window):
        seconds = _SHARE * window / pace.read
        words += f"; {100 * _SHARE:.0f} % of it would take about {seconds:.0f} s, so it is as long as a run's prompts"
    return Check.passed(title, f"{words}; the word at its top came back")


def _rate(tokens: int | None, seconds: float | None) -> float | None:
    return tokens / seconds if tokens and seconds else None


# --- the duration of a run, and what was measured before -------------------------------------------------------------

#: The animator's attempts at one sample, at most.
ATTEMPTS = 3
_NAME = "paces.json"


class Minutes(NamedTuple):
    """The duration of a run that spends its whole budget."""

    least: float
    most: float


class StoredPace(NamedTuple):
    """What doctor measured of a run's models on this machine."""

    attempt: float
    """Seconds of one attempt of the animator, including the sandbox."""
    reflection: float
    """Seconds of one request to the reflector."""
    at: str
    """The day of the older measurement, e.g. "2026-11-28"."""


def minutes(settings: Settings, suite: Suite, attempt_seconds: float, reflection_seconds: float) -> Minutes:
    """Minutes of a run that spends its whole budget, with one attempt per sample (least) and with three (most)."""
    final = settings.fresh * len(suite.tested) + len(suite.neighbours)
    samples = settings.metric_calls * settings.samples + 2 * final
    least = samples * attempt_seconds
    most = ATTEMPTS * least + settings.metric_calls * reflection_seconds
    return Minutes(least / 60, most / 60)


def remember(cache: Path, settings: Settings, attempt_seconds: float, reflection_seconds: float) -> None:
    """Store what was measured of a run's models in the folder `cache`; it makes later estimates more exact."""
    models = _load(cache)
    today = f"{datetime.now(UTC).astimezone():%Y-%m-%d}"
    for model, seconds in ((settings.animator, attempt_seconds), (settings.reflector, reflection_seconds)):
        models[_key(model)] = {"seconds": round(seconds, 3), "at": today}
    write_notes(cache / _NAME, "models", models)


def recall(cache: Path, settings: Settings) -> StoredPace | None:
    """The stored measurements of both models of a run; None if one is missing."""
    models = _load(cache)
    animator, reflector = (models.get(_key(model)) for model in (settings.animator, settings.reflector))
    if animator is None or reflector is None:
        return None
    return StoredPace(animator["seconds"], reflector["seconds"], min(animator["at"], reflector["at"]))


def _key(model: ModelSettings) -> str:
    return " ".join((model.role, model.endpoint.url or model.endpoint.kind, model.model))


def _load(cache: Path) -> dict[str, dict[str, Any]]:
    return {key: entry for key, entry in read_notes(cache / _NAME, "models").items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("at"), str):
        return False
    seconds = entry.get("seconds")
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < 1e6


# --- exams of both roles ----------------------------------------------------------------------------------------------

#: Number of the exam's sample; no sample of a run has its seed.
_EXAM = 3_000_000
#: After this many seconds the animator gets no further attempt to repair its program.
_REPAIR_SECONDS = 15.0

_OLD_RULE = "Use nice colours for everything that is drawn."
_FRAMES = "score 0.310\nframes: 12 frames, target 24: the loop over the frames runs 12 times"
_LOOP = "score 0.460\nloop: the step from the last frame to the first is 6.2 times a normal step: it jumps there"
_ABOUT_LOOP = re.compile(
    r"\b(loop\w*|seam\w*|first|last|jump\w*|smooth\w*|clos\w+|cycle\w*|end\w*|start\w*|return\w*)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class _Item:
    """One question of the reflector's exam."""

    what: str
    """What a good answer does, as the report says it."""
    request: str
    present: tuple[str, ...] = ()
    """Rules that the answer must not repeat."""
    about: re.Pattern[str] | None = None
    """What the answer must mention."""


def items(suite: Suite, settings: Settings) -> tuple[_Item, ...]:
    """The questions, worded as in a run."""
    task, old = suite.train[0], (_OLD_RULE,)
    told, standing = facts(task.targets) if settings.facts else "", {task.brief: 0.31}
    return (
        _Item("keeps the format", write_rule(suite, task, told, (), _FRAMES, "", standing)),
        _Item("names the problem", write_rule(suite, task, told, old, _LOOP, "", standing), old, _ABOUT_LOOP),
        _Item("changes one rule", sharpen_rule(suite, task, told, _OLD_RULE, _FRAMES, standing), old),
    )


def mark(item: _Item, reply: str, finish: str, suite: Suite) -> str:
    """Why an answer does not pass; "" if it passes."""
    task = suite.train[0]
    read = read_rule(reply, finish, item.present, prompt_of(seed_of(suite), suite), task.targets)
    if isinstance(read, Rejected):
        return read.code
    if item.about is not None and not item.about.search(read):
        return "is about something else"
    return ""


def reflector_exam(settings: Settings, suite: Suite, url: str, progress: Progress) -> Check:
    """Ask the reflector for three rules through LiteLLM, as in a run."""
    reflector = Reflector(settings.reflector, url)
    started, wrong = time.monotonic(), []
    questions = items(suite, settings)
    for asked, item in enumerate(questions, 1):
        progress.activity(f"the reflector's exam, question {asked} of {len(questions)}")
        try:
            reply = reflector.write(item.request, asked, one_line, RULE_TOKENS)
        except LocalGifError as error:
            return Check.raised("reflector", error)
        why = mark(item, reply.text, reply.done_reason, suite)
        if why:
            wrong.append(f"{item.what}: {why}")
    seconds = time.monotonic() - started
    words = f"{len(questions) - len(wrong)} of {len(questions)} questions answered in {seconds:.0f} s"
    if not wrong:
        return Check.passed("reflector", f"{words}: {', '.join(q.what for q in questions)}")
    return Check.warned(
        "reflector",
        f"{words}; failed: {'; '.join(wrong)}",
        "a run works, but gets fewer useful proposals; a larger reflector gives more "
        "(localgif models set reflector NAME)",
    )


class _Enough(Exception):
    """The time for repairs is over."""


def animator_exam(settings: Settings, suite: Suite, url: str, progress: Progress) -> tuple[Check, float | None]:
    """Draw one sample of the default task through agent and sandbox, as in a run, but with little time for repairs.

    Returns:
        The check, and the seconds of an attempt; None if none was finished.
    """
    task = suite.train[0]
    started = time.monotonic()
    written: list[Reply] = []
    rendered: list[Rendered] = []
    last: Rendered | None

    def write(messages: Sequence[tuple[str, str]], seed: int, finished: Callable[[str], str]) -> Any:
        if written and time.monotonic() - started > _REPAIR_SECONDS:
            raise _Enough
        progress.activity(f"the animator's exam: writing code, attempt {len(written) + 1}")
        written.append(animator.write(messages, seed, finished))
        return written[-1]

    def run(code: str) -> Rendered:
        progress.activity("the animator's exam: running and measuring")
        rendered.append(render(code, settings.limits))
        return rendered[-1]

    with Animator(settings.animator, url) as animator:
        animation = compile_animator(prompt_of(seed_of(suite), suite), task.brief, write, run)
        try:
            last = animation(sample_seed(settings.seed, _EXAM))[-1].rendered
        except _Enough:
            last = rendered[-1] if rendered else None
        except LocalGifError as error:
            return Check.raised("animator", error), None
    seconds = time.monotonic() - started
    words = (
        f"{counted(len(written), 'attempt')}, {sum(reply.output_tokens for reply in written)} tokens, {seconds:.0f} s"
    )
    if last is not None and last.measurements is not None:
        total = score.of(settings.scorer, last.measurements, task).total
        evidence = f"{task.name}: a GIF of {last.measurements.frames} frames, score {total:.3f} ({words})"
        check = Check.passed("animator", evidence)
    else:
        why = "no reply held a program" if last is None else f"{last.verdict}: {' '.join(last.reason.split())[:200]}"
        check = Check.warned(
            "animator",
            f"{task.name}: no GIF; {why} ({words})",
            "this is usual for a small model with the seed prompt, which a run improves; a larger animator starts with "
            "a higher score (localgif models set animator NAME)",
        )
    return check, seconds / len(written) if written else None
