"""Which failures are retried and when, and both roles against a server that misbehaves in each known way.

For each fault: how often the server is asked, that the end is an answer or an EndpointError with evidence and remedy,
and that no connection stays open on which a model could write for nobody.
"""

from __future__ import annotations

import functools
import json
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.endpoint import clients, http
from localgif.endpoint.clients import Animator, Finished, Reflector, reflector_arguments, reflector_failure
from localgif.endpoint.http import LONGEST_ASKED, RETRY_SECONDS, Failed, Failure, Kind, Patience, read_retry_after, wait
from localgif.errors import EndpointError
from localgif.records import Reply
from localgif.run.optimize import optimize
from localgif.settings import EndpointSettings
from localgif.store.read import load_run
from tests.conftest import Jumping
from tests.support.gateway_kit import PATIENCE, never
from tests.support.kit import Notes, fenced, model, program, settings
from tests.support.scripted import ACTS, GOOD, Act, Talk, answer, misbehaving

# --- the policy ------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILURES = st.builds(
    Failure,
    st.sampled_from(get_args(Kind)),
    st.just("it is ill"),
    st.integers(400, 599),
    st.none() | st.floats(0, math.inf),
)


@given(st.lists(FAILURES, min_size=1, max_size=40), st.floats(0, 1000))
def test_a_wait_is_bounded_and_only_before_what_may_succeed(failures: list[Failure], elapsed: float) -> None:
    pause = wait(failures, elapsed)
    last = failures[-1]
    if pause is None:
        assert not last.transient or sum(one.spoilt for one in failures) >= 5 or elapsed >= RETRY_SECONDS
        return
    assert last.transient and sum(one.spoilt for one in failures) < 5 and 0 < pause <= LONGEST_ASKED
    assert elapsed + pause <= RETRY_SECONDS + 1e-9, "the last try begins before the time is up"
    asked = min(last.retry_after or 0, LONGEST_ASKED)
    assert pause >= min(asked, RETRY_SECONDS - elapsed), "a server that asks to be left alone is"


def test_a_dead_server_is_asked_for_five_minutes_a_sick_one_five_times() -> None:
    gone, sick = Failure("unreachable"), Failure("status", status=500)
    elapsed, tries = 0.0, [gone]
    while (pause := wait(tries, elapsed)) is not None:
        elapsed += pause
        tries.append(gone)
    assert elapsed == RETRY_SECONDS == 300 and len(tries) == 16
    waits = [wait([sick] * count, 0.0) for count in range(1, 6)]
    assert waits == [0.5, 1, 2, 4, None]
    assert wait([sick] * 4 + [gone] * 5, 20.0) == 30, "a server that is away has not spoilt another try"


def test_what_is_tried_again() -> None:
    def again(*failures: Failure) -> set[bool]:
        return {wait([failure], 0.0) is not None for failure in failures}

    assert again(*(Failure("status", status=code) for code in (408, 425, 429, 500, 502, 503, 504, 520))) == {True}
    assert again(*(Failure("status", status=code) for code in (400, 401, 403, 404, 405, 413, 422, 501))) == {False}
    assert again(Failure("unreachable"), Failure("lost"), Failure("unfinished"), Failure("said")) == {True}
    assert again(*(Failure(k) for k in ("silent", "garbled", "flood", "window", "thought"))) == {False}


def test_retry_after_is_seconds_or_a_date() -> None:
    soon = format_datetime(NOW + timedelta(seconds=30), usegmt=True)
    past = format_datetime(NOW - timedelta(hours=1), usegmt=True)
    cases = {"7": 7.0, " 0 ": 0.0, soon: 30.0, past: 0.0, "Thu, 01 Jan 2026 00:01:00 -0000": 60.0}
    assert {header: read_retry_after(header, NOW) for header in cases} == cases
    assert not [header for header in ("soon", "-3", "7.5", "٣", "", None) if read_retry_after(header, NOW) is not None]


class Attempts:
    """Attempts that fail by a script, at a server that lists weights by a script."""

    def __init__(self, *failures: Failure | None, weights: tuple[str | None, ...] = ("a" * 64,)) -> None:
        self.failures = failures
        self.weights = weights
        self.asked = 0
        self.looked = 0
        self.notices: list[str] = []

    def listed(self, url: str, model: str) -> str | None:
        self.looked += 1
        return self.weights[min(self.looked, len(self.weights)) - 1]

    def attempt(self) -> str:
        failure = self.failures[min(self.asked, len(self.failures) - 1)]
        self.asked += 1
        if failure is not None:
            raise Failed(failure)
        return f"answer {self.asked}"

    def run(self) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(http, "listed_weights", self.listed)
            return Patience("http://there", "m:1b", self.notices.append).ask(self.attempt)


def test_the_last_failure_is_the_evidence_and_the_cause_is_kept() -> None:
    attempts = Attempts(Failure("status", "first", 500), Failure("status", "then\nthis", 500))
    with pytest.raises(EndpointError) as caught:
        attempts.run()
    assert caught.value.message == (
        "http://there: m:1b gave no answer (it answered 500: then this); asked 5 times in 8 s"
    )
    assert caught.value.exit_code == 4 and "server's log" in caught.value.remedy
    assert isinstance(caught.value.__cause__, Failed)


def test_every_kind_has_its_words_and_a_remedy() -> None:
    for kind in get_args(Kind):
        with pytest.raises(EndpointError) as caught:
            Attempts(Failure(kind, "EVIDENCE", 400)).run()
        assert "http://there" in caught.value.message and "EVIDENCE" in caught.value.message
        assert caught.value.remedy


def test_other_weights_under_the_same_name_end_it() -> None:
    changed = Attempts(Failure("lost"), None, weights=("a" * 64, "b" * 64))
    with pytest.raises(EndpointError, match=f"sha256 {'b' * 12}, and {'a' * 12} at the first request"):
        changed.run()
    assert changed.asked == 1, "the other model was not asked"
    for unknown in ((None, "b" * 64), ("a" * 64, None, "a" * 64)):
        assert Attempts(Failure("lost"), Failure("lost"), None, weights=unknown).run() == "answer 3"


# --- both roles ------------------------------------------------------------------------------------------------------

Ask = Callable[..., Reply]


def unheard(_: str) -> None: ...


def animate(
    url: str, notice: Callable[[str], None] = unheard, *, prompt: str = "hi", finished: Finished = never,
    think: bool = False,
) -> Reply:  # fmt: skip
    with Animator(model("animator", url, num_predict=64, think=think), url, notice) as animator:
        return animator.write([("user", prompt)], 1, finished)


def reflecting(provider: str) -> Ask:
    def reflect(
        url: str, notice: Callable[[str], None] = unheard, *, prompt: str = "hi", finished: Finished = never,
        think: bool = False,
    ) -> Reply:  # fmt: skip
        chosen = model("reflector", url, litellm=f"{provider}/scripted:1b", num_predict=64, think=think)
        return Reflector(chosen, url, notice).write(prompt, 1, finished, 64)

    return reflect


def plain(provider: str) -> Ask:
    """As plain reflection asks, through gepa's LM."""
    from gepa.lm import LM

    def ask(url: str, notice: Callable[[str], None] = unheard) -> Reply:
        chosen = model("reflector", url, litellm=f"{provider}/scripted:1b", num_predict=64)
        try:
            return Reply(LM(**reflector_arguments(chosen, url, notice))("hi") or "", "stop", None, 0, 0.0)
        except Exception as error:
            raise reflector_failure(chosen, url, error) from error

    return ask


STREAMING: dict[str, Ask] = {
    "animator": animate, "ollama": reflecting("ollama"), "ollama_chat": reflecting("ollama_chat"),
}  # fmt: skip
STREAMED = pytest.mark.parametrize("ask", STREAMING.values(), ids=STREAMING)
ROLES = {**STREAMING, "plain, ollama": plain("ollama"), "plain, ollama_chat": plain("ollama_chat")}
EVERY_ROLE = pytest.mark.parametrize("ask", ROLES.values(), ids=ROLES)

#: What passes with time: asked at most five times, if the server takes the request and spoils it.
PASSING = {
    "dies before a token": "the connection broke",
    "dies in the middle": "the connection broke",
    "ends without done": "",
    "reports an error in the middle": "model runner has unexpectedly stopped",
    "500": "the server is ill",
    "only loaded": "without text",
    "a null": "without text",
}
#: What does not pass: asked once.
LASTING = {
    "404": "not found",
    "HTML": "<html><body>",
    "wrong JSON": '"role": "assi',
    "a list": '[{"done": true}]',
    "does not fit": "9000 tokens",
    "endless tokens": "does not stop",
    "one endless line": "does not stop",
    "deep JSON": "[[[[",
    "compressed": "compressed (gzip)",
    "a long error": "xxxx",
}


@EVERY_ROLE
@pytest.mark.parametrize(("fault", "said"), PASSING.items(), ids=PASSING)
def test_what_passes_with_time_is_asked_again(ask: Ask, fault: str, said: str, clock: Jumping) -> None:
    notices: list[str] = []
    with misbehaving(ACTS[fault], ACTS[fault], ACTS["good"]) as server:
        assert ask(server.url, notices.append).text.split() == GOOD.split()
        assert len(server.history) == 3 and server.history[0] == server.history[2]
    assert len(notices) == 2 and all(server.url in notice and said in notice for notice in notices)
    assert clock.slept == [0.5, 1]


@EVERY_ROLE
@pytest.mark.parametrize("fault", ["500", "dies in the middle"])
def test_what_does_not_pass_is_asked_five_times(ask: Ask, fault: str, clock: Jumping) -> None:
    said = PASSING[fault]
    with misbehaving(ACTS[fault]) as server, pytest.raises(EndpointError) as caught:
        ask(server.url)
    assert len(server.history) == 5 and clock.slept == [0.5, 1, 2, 4]
    assert server.url in caught.value.message and said in caught.value.message
    assert "asked 5 times" in caught.value.message and caught.value.remedy and caught.value.exit_code == 4


@pytest.mark.slow
@EVERY_ROLE
@pytest.mark.parametrize(("fault", "said"), LASTING.items(), ids=LASTING)
def test_what_stays_wrong_is_an_error_at_once(ask: Ask, fault: str, said: str) -> None:
    with misbehaving(ACTS[fault]) as server:
        with pytest.raises(EndpointError) as caught:
            ask(server.url)
        assert len(server.history) == 1
        (fate,) = server.wait_for_fates(1)
    assert server.url in caught.value.message and said in caught.value.message
    assert caught.value.exit_code == 4 and ("num_ctx" if fault == "does not fit" else ".") in caught.value.remedy
    assert fate == ("left" if "endless" in fault else "done"), "nobody reads what does not stop"


@EVERY_ROLE
def test_a_server_that_says_not_now_gets_five_minutes_or_what_it_asks_for(ask: Ask, clock: Jumping) -> None:
    for fault, word in (("503", "busy"), ("HTML with 502", "hotel")):
        clock.slept.clear()
        with misbehaving(ACTS[fault]) as server, pytest.raises(EndpointError, match=word):
            ask(server.url)
        assert 290 < sum(clock.slept) <= 300 and max(clock.slept) == 30
        assert len(server.history) == len(clock.slept) + 1
    clock.slept.clear()
    with misbehaving(ACTS["429"], ACTS["429"], ACTS["good"]) as server:
        assert ask(server.url).text.split() == GOOD.split()
    assert clock.slept == [7, 7]


@EVERY_ROLE
def test_a_server_that_is_away_is_waited_for(ask: Ask, clock: Jumping, monkeypatch: pytest.MonkeyPatch) -> None:
    with misbehaving(ACTS["good"]) as server:
        server.stop()
        with pytest.raises(EndpointError, match="no server answers there") as caught:
            ask(server.url)
        assert 290 < sum(clock.slept) <= 300 and "Start the server" in caught.value.remedy
        slept: list[float] = []

        def back_at_the_third(self: Jumping, seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                server.start()

        monkeypatch.setattr(Jumping, "sleep", back_at_the_third)
        assert ask(server.url).text.split() == GOOD.split()
        assert slept == [0.5, 1, 2] and len(server.history) == 1


@EVERY_ROLE
def test_other_weights_after_a_restart_are_not_asked(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with misbehaving(ACTS["dies in the middle"], ACTS["good"]) as server:

        def restart(self: Jumping, seconds: float) -> None:
            server.stop()
            server.listed = "cd" * 32
            server.start()

        monkeypatch.setattr(Jumping, "sleep", restart)
        with pytest.raises(EndpointError, match="other weights") as caught:
            ask(server.url)
        assert len(server.history) == 1
    assert "cdcdcdcdcdcd" in caught.value.message and "abababababab" in caught.value.message


@pytest.mark.slow
@STREAMED
@pytest.mark.parametrize("fault", ["hangs before a token", "hangs between tokens", "drops between tokens"])
def test_silence_has_an_end_and_the_connection_too(ask: Ask, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(clients, "BETWEEN_SECONDS", 0.3)
    with misbehaving(ACTS[fault]) as server:
        with pytest.raises(EndpointError, match="the server was silent for too long") as caught:
            ask(server.url)
        assert server.wait_for_fates(1) == ["left"], "the server is free again"
        assert len(server.history) == 1
    assert "hangs" in caught.value.remedy


def test_a_server_cannot_fill_the_screen_with_options_that_it_forbids() -> None:
    told: list[str] = []
    patience = Patience("http://127.0.0.1:9", "m", told.append)
    for number in range(1000):
        patience.tell_left_out([f"option_{number}" + "x" * 10_000] * 10_000)
        patience.tell_left_out("min_p")
    assert 0 < len(told) <= 20 and max(map(len, told)) < 1000


@STREAMED
def test_odd_answers_that_can_be_read_are_answers(ask: Ask) -> None:
    with misbehaving(ACTS["blank lines"]) as server:
        assert ask(server.url).text == GOOD
    with misbehaving(ACTS["empty"]) as server:
        assert (ask(server.url).text, len(server.history)) == ("", 1)
    with misbehaving(ACTS["counts that are null"]) as server:
        reply = ask(server.url)
    assert reply.text == GOOD and reply.output_tokens >= 1 and reply.done_reason == "stop"
    with misbehaving(ACTS["counts that are no numbers"]) as server:
        try:
            reply = ask(server.url)
        except EndpointError as error:
            assert "not an answer of the Ollama API" in error.message and error.remedy
        else:
            assert reply.text == GOOD and isinstance(reply.output_tokens, int)


@EVERY_ROLE
def test_halves_of_characters_and_line_separators_are_text(ask: Ask) -> None:
    with misbehaving(ACTS["raw line separators"]) as server:
        assert ask(server.url).text == "one\u0085\u2028\U0001f600\ufffd"
    with misbehaving(ACTS["a list of parts"]) as server:
        assert ask(server.url).text == "one two"
    with misbehaving(ACTS["a byte order mark"]) as server:
        assert ask(server.url).text == GOOD


@STREAMED
def test_a_thought_in_the_text_is_not_part_of_the_answer(ask: Ask) -> None:
    draft = "[THINK]\n```python\ndraft\n```\n[/THINK]\none\ntwo\n"
    with misbehaving(answer(draft)) as server:
        reply = ask(server.url, finished=lambda text: "closed" if "```" in text else "")
    assert (reply.text, reply.done_reason) == ("one\ntwo\n", "stop")


@STREAMED
def test_a_model_that_is_gone_is_said_to_be(ask: Ask) -> None:
    with misbehaving(ACTS["404"]) as server, pytest.raises(EndpointError, match="no longer has scripted:1b") as caught:
        ask(server.url)
    assert "ollama pull scripted:1b" in caught.value.remedy and "resume" in caught.value.remedy


@STREAMED
@pytest.mark.parametrize(
    "words",
    [
        "The input (9000 tokens) is longer than the model's context length (4096 tokens).",
        "the input length exceeds the context length",
    ],
)
def test_an_overflow_inside_a_stream_is_one_at_once(ask: Ask, words: str) -> None:
    def act(talk: Talk) -> None:
        talk.head()
        talk.line("half\n")
        talk.raw(json.dumps({"error": words}).encode() + b"\n")

    with misbehaving(act) as server, pytest.raises(EndpointError) as caught:
        ask(server.url)
    assert caught.value.code == "E-CTX" and len(server.history) == 1


@EVERY_ROLE
def test_the_error_names_the_server_that_the_user_knows(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = EndpointSettings(name="mine", kind="openai", url="http://10.9.8.7:1234/v1")
    monkeypatch.setattr("tests.endpoint.test_http.model", functools.partial(model, endpoint=mine))
    with misbehaving(ACTS["does not fit"]) as server, pytest.raises(EndpointError) as caught:
        ask(server.url)
    assert "http://10.9.8.7:1234/v1" in caught.value.message and server.url not in caught.value.message


@STREAMED
def test_thoughts_are_not_an_answer(ask: Ask) -> None:
    with misbehaving(ACTS["only thoughts"]) as server, pytest.raises(EndpointError) as caught:
        ask(server.url)
    assert "only thoughts" in caught.value.message
    assert "num_predict" in caught.value.remedy and len(server.history) == 1
    with misbehaving(ACTS["only thoughts"]) as server:
        reply = ask(server.url, think=True)
    assert (reply.text, reply.done_reason) == ("", "length"), "a model that may think has answered with nothing"
    assert [asked["think"] for _, asked in server.history] == [True]


@STREAMED
def test_a_prompt_that_was_cut_silently_is_found_out(ask: Ask) -> None:
    with misbehaving(ACTS["leaves out a part"]) as server, pytest.raises(EndpointError, match="only 7 tokens") as told:
        ask(server.url, prompt="Draw a red ball. " * 1000)
    assert "num_ctx" in told.value.remedy


@STREAMED
def test_a_client_that_has_enough_leaves_at_once(ask: Ask) -> None:
    left = threading.Event()

    def talkative(talk: Talk) -> None:
        talk.head()
        talk.line("```\n")
        talk.line("```\n")
        try:
            talk.hold()
        finally:
            left.set()

    with misbehaving(talkative) as server:
        reply = ask(server.url, finished=lambda text: "closed" if text.count("```") == 2 else "")
        assert reply.done_reason == "closed" and left.wait(10), "no token is written for nobody"


def test_no_descriptor_is_left_after_many_failures() -> None:
    def open_descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    with (
        misbehaving(ACTS["dies in the middle"]) as server,
        Animator(model("animator", server.url), server.url) as animator,
    ):
        before = open_descriptors()
        for _ in range(5):
            with pytest.raises(EndpointError):
                animator.write([("user", "hi")], 1, never)
        server.wait_for_fates(25)
        deadline = time.monotonic() + PATIENCE
        while open_descriptors() > before:  # the server is in this process too, and closes on its own threads
            assert time.monotonic() < deadline


# --- whole runs ------------------------------------------------------------------------------------------------------

POOR = answer(fenced(program(12, 100)))
CALLS = {"metric_calls": 3, "samples": 1, "fresh": 1}


def samples_of(folder: Path) -> list[tuple[Any, ...]]:
    return [(s.purpose, s.metric_call, s.seed, s.verdict, s.code, s.gif) for s in load_run(folder).samples]


@pytest.mark.parametrize("reflection", ["plain", "instruction-only"])
@pytest.mark.slow
def test_a_short_fault_at_every_second_call_changes_nothing_in_a_run(reflection: str, tmp_path: Path) -> None:
    with misbehaving(POOR) as server:
        optimize(settings(server.url, reflection=reflection, **CALLS), tmp_path, "well", Notes())
        calls = len(server.history)
    for fault in ("dies in the middle", "429"):
        faulty: list[Act] = [act for _ in range(calls) for act in (ACTS[fault], POOR)]
        with misbehaving(*faulty) as server:
            optimize(settings(server.url, reflection=reflection, **CALLS), tmp_path, fault, Notes())
            assert len(server.history) == 2 * calls
        assert samples_of(tmp_path / fault) == samples_of(tmp_path / "well")
