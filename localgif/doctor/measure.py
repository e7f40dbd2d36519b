"""What an endpoint really does with a model: window, speed, a prompt read from its first word, one answer twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from localgif.checks.result import Check
from localgif.config import ModelSettings
from localgif.doctor.ask import Said, ask
from localgif.endpoint.preflight import allocated_window
from localgif.errors import LocalGifError
from localgif.search.progress import Progress

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
