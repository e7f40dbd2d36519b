"""Which failures of an endpoint are worth another try, when, and what is said when none is left.

One policy for both roles. The retries of the clients are off: litellm asks a server that is ill four times within half
a second, whatever it answers. Pure, but for the one loop that asks, and its clock comes in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol, TypeVar

from localgif.errors import EndpointError

#: How an answer failed. "unreachable": nobody took the request. "lost": the connection broke. "unfinished": a clean
#: end without `done`. "silent": nothing came for too long. "status": an HTTP status of 400 or more. "said": an error in
#: place of a line. "garbled": no answer of the Ollama API. "flood": far more than was asked for. "window": the prompt
#: does not fit. "thought": the whole budget went into thinking.
Kind = Literal["unreachable", "lost", "unfinished", "silent", "status", "said", "garbled", "flood", "window", "thought"]

#: Statuses that say "not now": the request itself was not begun.
NOT_NOW = frozenset({408, 425, 429, 502, 503, 504})
_SHOWN = 400


@dataclass(frozen=True)
class Failure:
    """How one attempt ended.

    Attributes:
        kind: What happened.
        text: The evidence: the server's words, or the system's.
        status: The HTTP status, for kind "status".
        retry_after: Seconds that the server asked to be left alone for; None when it did not.
    """

    kind: Kind
    text: str = ""
    status: int = 0
    retry_after: float | None = None


class Failed(Exception):
    """One attempt failed; `Patience` decides what becomes of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


@dataclass(frozen=True)
class Policy:
    """How much patience there is.

    Attributes:
        first: Seconds before the second try; each further wait is twice as long.
        longest: Most seconds of one wait, unless the server asks for more.
        longest_asked: Most seconds that a server gets when it asks (Retry-After).
        seconds: From the first failure to the last try. A server that loads a large model on a CPU needs minutes.
        spoilt: Most tries that the server took and then spoilt: it may do so with this very request every time.
    """

    first: float = 0.5
    longest: float = 30.0
    longest_asked: float = 60.0
    seconds: float = 300.0
    spoilt: int = 5


POLICY = Policy()


def transient(failure: Failure) -> bool:
    """Whether the same request may succeed later."""
    if failure.kind == "status":
        return failure.status in NOT_NOW or (failure.status >= 500 and failure.status != 501)
    return failure.kind in ("unreachable", "lost", "unfinished", "said")


def spoilt(failure: Failure) -> bool:
    """Whether the server had taken the request."""
    return failure.kind != "unreachable" and not (failure.kind == "status" and failure.status in NOT_NOW)


def wait(failures: Sequence[Failure], elapsed: float, policy: Policy = POLICY) -> float | None:
    """Seconds to wait before the next try; None: give up.

    Args:
        failures: Of this request so far, at least one, the latest last.
        elapsed: Seconds since the first of them.
        policy: How much patience there is.
    """
    last = failures[-1]
    left = policy.seconds - elapsed
    if not transient(last) or sum(map(spoilt, failures)) >= policy.spoilt or left <= 0:
        return None
    own = min(policy.first * 2.0 ** min(len(failures) - 1, 30), policy.longest)
    return min(max(own, min(last.retry_after or 0.0, policy.longest_asked)), left)


def read_retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date; None when it is absent or neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


class Clock(Protocol):
    """Time, as the loop sees it."""

    def now(self) -> float:
        """Seconds, never going back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


CLOCK: Clock = SystemClock()

T = TypeVar("T")


class Patience:
    """Asks a server until it answers or the policy is at its end, and only the weights that it began with.

    Args:
        url: The endpoint, for messages.
        model: The model's name, for messages.
        weights: Gives the sha256 that the server lists for the model now; None when it does not say.
        notice: Told before each wait.
        hopeless: Says why the server will not come back, or "" when it may.
        policy: How much patience there is.
        clock: None is the machine's.
    """

    def __init__(
        self,
        url: str,
        model: str,
        weights: Callable[[], str | None],
        notice: Callable[[str], None],
        hopeless: Callable[[], str] = str,
        policy: Policy = POLICY,
        clock: Clock | None = None,
    ) -> None:
        self._url = url
        self._model = model
        self._weights_now = weights
        self._weights: str | None = None
        self._notice = notice
        self._hopeless = hopeless
        self._policy = policy
        self._clock = clock or CLOCK

    def ask(self, attempt: Callable[[], T]) -> T:
        """The result of the first attempt that does not raise `Failed`.

        Raises:
            EndpointError: None is left, or the server has other weights under this name than at the first request.
        """
        failures: list[Failure] = []
        began = 0.0
        while True:
            self._check_weights()
            try:
                return attempt()
            except Failed as error:
                failed = error
            now = self._clock.now()
            began = began if failures else now
            failures.append(failed.failure)
            pause = wait(failures, now - began, self._policy)
            if pause is None or self._hopeless():
                raise explain(self._url, self._model, failures, now - began) from (failed.__cause__ or failed)
            self._notice(f"{self._url}: {reason(failed.failure)}; asking again in {pause:.1f} s")
            self._clock.sleep(pause)

    def _check_weights(self) -> None:
        """A server that came back with other weights would go on with another experiment."""
        now = self._weights_now()
        if now and self._weights and now != self._weights:
            raise EndpointError(
                f"{self._url} now has other weights under the name {self._model}: sha256 {now[:12]}, "
                f"and {self._weights[:12]} at the first request",
                "Load the former ones again, or start a new run; what was measured so far is kept.",
            )
        self._weights = self._weights or now


def reason(failure: Failure) -> str:
    """What happened, in one line."""
    text = " ".join(failure.text.split())[:_SHOWN]
    words = {
        "unreachable": "nobody answers there",
        "lost": "the connection broke",
        "unfinished": "the answer ended without its last line",
        "silent": "nothing came for too long",
        "status": f"it answered {failure.status}",
        "said": "it reports an error",
        "garbled": "that is no answer of the Ollama API",
        "flood": "it does not stop",
        "window": "the prompt does not fit",
        "thought": "it wrote nothing but thoughts",
    }[failure.kind]
    return f"{words}: {text}" if text else words


def explain(url: str, model: str, failures: Sequence[Failure], seconds: float) -> EndpointError:
    """The error that ends a run, with the evidence of the last failure and what can be done about it."""
    last = failures[-1]
    if last.kind == "window":
        text = " ".join(last.text.split())[:_SHOWN]
        return EndpointError(
            f"{url}: the prompt does not fit into the window of {model}: {text}",
            "Raise num_ctx of this model in models.toml.",
            code="E-CTX",
        )
    often = f"; asked {len(failures)} times in {seconds:.0f} s" if len(failures) > 1 else ""
    what = f"{url}: {model} gave no answer ({reason(last)}){often}"
    if last.kind == "unfinished":
        return EndpointError(what, _REMEDIES[last.kind], code="E-STREAM")
    return EndpointError(what, _REMEDIES[last.kind])


_KEPT = "what was measured so far is kept."
_REMEDIES: dict[Kind, str] = {
    "unreachable": f"Start the server again; {_KEPT}",
    "lost": f"Look at the server's log; {_KEPT}",
    "unfinished": f"Look at the server's log: it stopped in the middle; {_KEPT}",
    "silent": f"The server hangs, or this model is too slow here: look at its log, restart it; {_KEPT}",
    "status": f"Look at the server's log; {_KEPT}",
    "said": f"Look at the server's log; {_KEPT}",
    "garbled": f"Is this the address of an Ollama API, without a proxy in front of it? {_KEPT.capitalize()}",
    "flood": f"The server does not keep to num_predict; use another one; {_KEPT}",
    "window": "",
    "thought": f"Raise num_predict in models.toml, or name a model that does not think; {_KEPT}",
}
