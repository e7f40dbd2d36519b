"""One model measured: its window, its speed, a canary, and what was measured before."""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from localgif.endpoint.clients import KEEP_ALIVE
from localgif.endpoint.discover import allocated_window
from localgif.errors import EndpointError, LocalGifError
from localgif.files import replace_file
from localgif.run.checks import Check
from localgif.search.progress import Progress
from localgif.settings import ModelSettings, Settings
from localgif.tasks.suite import Suite

#: A model may have to be loaded first, and a long prompt be read on a slow CPU.
PATIENCE_SECONDS = 600.0

_NANO = 1e9


@dataclass(frozen=True)
class Said:
    """An answer.

    Attributes:
        text: What was said.
        prompt_tokens: What the server says that it read; None when it does not say, like the next three.
        read_seconds: For the part of the prompt that was not in its cache.
        output_tokens: Written.
        write_seconds: For writing them.
        seconds: The whole request, as we saw it.
    """

    text: str
    prompt_tokens: int | None
    read_seconds: float | None
    output_tokens: int | None
    write_seconds: float | None
    seconds: float


def ask(url: str, model: ModelSettings, prompt: str, *, longest: int, seed: int = 1) -> Said:
    """Ask a model once, with the window of a run and its prompt never cut. No proxy.

    Args:
        url: Address of the endpoint.
        model: The role's settings.
        prompt: One user message.
        longest: Most tokens of the answer.
        seed: The model's seed.

    Raises:
        EndpointError: the server refuses, fails or goes away.
    """
    body = {
        "model": model.model,
        "messages": [{"role": "user", "content": prompt}],
        "stream": False,
        "think": False,
        "truncate": False,
        "keep_alive": KEEP_ALIVE,
        "options": {
            "num_ctx": model.num_ctx,
            "num_predict": longest,
            "temperature": model.temperature,
            "seed": seed,
        },
    }
    started = time.monotonic()
    answer = _post(f"{url}/api/chat", body)
    message = answer.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise EndpointError(f"{url}: the answer of {model.model} holds no text", "is this an Ollama server?")
    return Said(
        text,
        _count(answer.get("prompt_eval_count")),
        _seconds(answer.get("prompt_eval_duration")),
        _count(answer.get("eval_count")),
        _seconds(answer.get("eval_duration")),
        time.monotonic() - started,
    )


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE_SECONDS) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(2000).decode("utf-8", "replace")
        raise EndpointError(f"{url} answers {error.code}: {said}", "look at the server's log") from None
    except (OSError, ValueError) as error:
        raise EndpointError(f"{url} gave no answer: {error}", "look at the server's log") from None
    except Exception as error:  # http.client's own family
        what = f"{type(error).__name__} {error}"
        raise EndpointError(f"{url} gave no answer: {what}", "look at the server's log") from None
    if not isinstance(answer, dict):
        raise EndpointError(f"{url} does not answer with an object", "is this an Ollama server?")
    return answer


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _seconds(value: object) -> float | None:
    return value / _NANO if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


#: Share of the window that the canary fills.
SHARE = 0.9

#: What reading it may take; a machine too slow for that gets a shorter one, but never shorter than a run's prompts.
CANARY_SECONDS = 25.0

#: Tokens that cover the longest prompts of usual runs: 1,057 was the most in five runs with the shipped tasks.
RUN_TOKENS = 1200

#: A server that read less than this share of what was sent has cut it.
READ_SHARE = 0.85

#: Lines of the first request: with a second one without them it tells how many tokens a line has.
FIRST_LINES = 16

#: Tokens of a canary beside its lines and what the server puts around every prompt.
AROUND = 40

_CODE_WORDS = ("heron", "walnut", "granite", "saffron", "pelican", "juniper", "marble", "cobalt")

_REPEATS = 3


@dataclass(frozen=True)
class Pace:
    """Tokens per second."""

    read: float
    write: float


class Measured:
    """Measures one model behind an endpoint."""

    def __init__(self, model: ModelSettings, url: str, progress: Progress) -> None:
        self.pace: Pace | None = None
        """There after the first answer."""
        self.answers = True
        """False once the endpoint failed."""
        self._model = model
        self._url = url
        self._progress = progress
        self._first: int | None = None
        """Tokens of the first request."""
        self._bare: int | None = None
        """Tokens of a request without lines: mostly what the server puts around every prompt."""
        self._window = model.num_ctx
        self._mark = str(random.randrange(100_000, 1_000_000))
        """Begins long prompts: what a server remembers of an earlier doctor would look like reading at no cost."""

    def checks(self) -> Iterator[Check]:
        """Window, speed and repeats, canary; each that fails with a server's refusal is a FAIL, and ends it."""
        name = self._model.model
        steps = ((f"endpoint {name}", self._endpoint), (f"speed {name}", self._speed), (f"canary {name}", self._canary))
        for number, (title, step) in enumerate(steps):
            try:
                yield step(title)
            except LocalGifError as error:
                self.answers = False
                yield Check(name=title, status="FAIL", evidence=error.message, remedy=error.remedy)
                for left, _ in steps[number + 1 :]:
                    yield Check(name=left, status="SKIP", evidence="the endpoint failed before")
                return

    def _endpoint(self, title: str) -> Check:
        """Load the model, and read from the server what window it allocated."""
        self._progress.activity(f"asking {self._model.model} for the first time")
        said = ask(self._url, self._model, filler(self._mark, FIRST_LINES) + "\nAnswer with the word: ready", longest=8)
        self._first = said.prompt_tokens
        read = _rate(said.prompt_tokens, said.read_seconds) or _rate(said.prompt_tokens, said.seconds) or 0.0
        self.pace = Pace(read, 0.0)
        window = allocated_window(self._url, self._model.model)
        asked = self._model.num_ctx
        words = f"the first answer took {said.seconds:.1f} s"
        if window is None:
            return Check(
                name=title,
                status="WARN",
                evidence=f"{words}; the server does not say which window it allocated",
                remedy="see whether the canary below comes back; an Ollama tells with: ollama ps",
            )
        self._window = window
        if window < asked:
            return Check(
                name=title,
                status="FAIL",
                evidence=f"{words}; the server allocated a window of {window} tokens, {asked} were asked for",
                remedy=f"num_ctx = {window} in its table of models.toml, or a larger window at the server",
            )
        return Check(name=title, status="PASS", evidence=f"{words}, loaded with a window of {window} tokens")

    def _speed(self, title: str) -> Check:
        """Three identical requests: how fast it writes, and how many different answers they get."""
        self._progress.activity(f"{self._model.model}: the same request {_REPEATS} times")
        prompt = "Describe how a ball bounces."
        answers = [ask(self._url, self._model, prompt, longest=40) for _ in range(_REPEATS)]
        self._bare = answers[0].prompt_tokens
        rates = [rate for rate in (_rate(a.output_tokens, a.write_seconds or a.seconds) for a in answers) if rate]
        assert self.pace is not None
        self.pace = Pace(self.pace.read, sum(rates) / len(rates) if rates else 0.0)
        different = len({answer.text for answer in answers})
        words = f"reads {self.pace.read:.0f}, writes {self.pace.write:.1f} tokens/s"
        if not any(answer.text.strip() for answer in answers):
            return Check(
                name=title,
                status="FAIL",
                evidence=f"{words}; {_REPEATS} requests got no text at all",
                remedy="name another model (one that only thinks and does not answer is of no use here)",
            )
        if different == 1:
            return Check(
                name=title, status="PASS", evidence=f"{words}; {_REPEATS} identical requests got the same answer"
            )
        return Check(
            name=title,
            status="WARN",
            evidence=f"{words}; {_REPEATS} identical requests with one seed got {different} different answers",
            remedy="nothing is broken, but a run with the same --seed will not repeat itself: judge by several samples",
        )

    def _canary(self, title: str) -> Check:
        """A word at the very top of a long prompt must come back: nothing was cut in silence."""
        assert self.pace is not None
        if self._first is None or self._bare is None or self._first <= self._bare:
            return Check(name=title, status="SKIP", evidence="the server does not say how many tokens it reads")
        per_line = (self._first - self._bare) / FIRST_LINES
        whole = int(SHARE * self._window)
        affordable = int(self.pace.read * CANARY_SECONDS)
        target = min(whole, max(RUN_TOKENS, affordable))
        lines = max(1, int((target - self._bare - AROUND) / per_line))
        self._progress.activity(f"{self._model.model}: reading {target} tokens")
        word = random.choice(_CODE_WORDS)
        prompt = canary(word, self._mark[::-1], lines)
        said = ask(self._url, self._model, prompt, longest=24)
        return judge(title, said, word, int(lines * per_line), target, self._window, self.pace)


def filler(mark: str, lines: int) -> str:
    """Text that says nothing, each line another one of the same length; it begins with `mark`."""
    boxes = (f"{1000 + n}. Box {10 + n * 37 % 90} holds {10 + n * 53 % 90} blue stones.\n" for n in range(lines))
    return f"List {mark}:\n" + "".join(boxes)


def canary(word: str, mark: str, lines: int) -> str:
    """A long prompt with a word at its top that is asked for at its end; `mark` begins its list."""
    return (
        f"The code word is {word}. Remember the code word.\n\n{filler(mark, lines)}\n"
        "What is the code word that was given at the very top, before the list? Answer with that one word."
    )


def judge(title: str, said: Said, word: str, expected: int, target: int, window: int, pace: Pace) -> Check:
    """What the answer to a canary shows.

    Args:
        title: Name of the check.
        said: The answer.
        word: That was at the top.
        expected: Tokens of the list alone, by the first request's count.
        target: Tokens that the prompt was to have.
        window: Of the loaded model.
        pace: Of the first request.
    """
    read = said.prompt_tokens
    share = 100 * (read or target) / window
    words = f"a prompt of {read if read is not None else f'about {target}'} tokens ({share:.0f} % of the window)"
    words += f" took {said.seconds:.0f} s"
    if read is not None and read < READ_SHARE * expected:
        return Check(
            name=title,
            status="FAIL",
            evidence=f"the server read {read} of about {expected} tokens and said nothing: it cuts prompts",
            remedy="update the server (an Ollama refuses since 0.12.6 instead), or raise its window",
        )
    if word not in said.text.lower():
        answer = " ".join(said.text.split())[:60]
        return Check(
            name=title,
            status="WARN",
            evidence=f"{words}; the word at its top did not come back (answer: {answer!r})",
            remedy="the server read everything, so the model is too weak for prompts of that length: name a larger one"
            if read is not None
            else "the server may have cut it: lower num_ctx, or look at the server's log",
        )
    if target < int(SHARE * window):
        seconds = SHARE * window / pace.read
        words += (
            f"; {100 * SHARE:.0f} % of it would take about {seconds:.0f} s here, so this is what a run's prompts need"
        )
    return Check(name=title, status="PASS", evidence=f"{words}; the word at its top came back")


def _rate(tokens: int | None, seconds: float | None) -> float | None:
    return tokens / seconds if tokens and seconds else None


#: Answers of the animator to one sample, at most.
ATTEMPTS = 3

_NAME = "paces.json"

_VERSION = 1


class Minutes(NamedTuple):
    """Of the whole budget."""

    least: float
    most: float
    samples: int


class StoredPace(NamedTuple):
    """What a run with two models takes here."""

    attempt: float
    """Seconds of one attempt of the animator, sandbox included."""
    reflection: float
    """Seconds of one request to the reflector."""
    at: str
    """The day of the older of both measurements, e.g. "2026-11-28"."""


def minutes(settings: Settings, suite: Suite, attempt_seconds: float, reflection_seconds: float) -> Minutes:
    """Minutes of a run that spends its whole budget: at the least with one attempt for each sample, at most with three.

    Args:
        settings: With the budget.
        suite: What is drawn.
        attempt_seconds: Of one attempt of the animator, sandbox included.
        reflection_seconds: Of one request to the reflector.
    """
    samples = settings.metric_calls * settings.samples + 2 * settings.fresh * len(suite.tested)
    least = samples * attempt_seconds
    most = ATTEMPTS * least + settings.metric_calls * reflection_seconds
    return Minutes(least / 60, most / 60, samples)


def remember(cache: Path, settings: Settings, attempt_seconds: float, reflection_seconds: float) -> None:
    """Keep a measurement. Losing it costs a guess, so a folder that cannot be written is none of the user's business.

    Args:
        cache: Folder of this machine, made when it is not there.
        settings: With the models that were measured.
        attempt_seconds: Of one attempt of the animator, sandbox included.
        reflection_seconds: Of one request to the reflector.
    """
    models = _load(cache)
    today = f"{datetime.now(UTC).astimezone():%Y-%m-%d}"
    for model, seconds in ((settings.animator, attempt_seconds), (settings.reflector, reflection_seconds)):
        models[_key(model)] = {"seconds": round(seconds, 3), "at": today}
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        replace_file(cache / _NAME, json.dumps({"version": _VERSION, "models": models}, indent=1).encode())


def recall(cache: Path, settings: Settings) -> StoredPace | None:
    """What was measured of both models of a run; None when one of them was not."""
    models = _load(cache)
    animator, reflector = (models.get(_key(model)) for model in (settings.animator, settings.reflector))
    if animator is None or reflector is None:
        return None
    return StoredPace(animator["seconds"], reflector["seconds"], min(animator["at"], reflector["at"]))


def _key(model: ModelSettings) -> str:
    return " ".join((model.role, model.endpoint.url or model.endpoint.kind, model.model))


def _load(cache: Path) -> dict[str, Mapping[str, Any]]:
    try:
        stored = json.loads((cache / _NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(stored, dict) or stored.get("version") != _VERSION or not isinstance(stored.get("models"), dict):
        return {}
    return {key: entry for key, entry in stored["models"].items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("at"), str):
        return False
    seconds = entry.get("seconds")
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < 1e6
