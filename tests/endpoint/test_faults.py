"""Both roles through their real clients against a server that misbehaves in each way that is known.

What is asserted of each: how often it is asked, that the end is an answer or an EndpointError with evidence and remedy,
and that no connection stays open on which a model could write for nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localgif.endpoint.clients import Animator, Reflector, Reply, reflector_arguments, reflector_failure
from localgif.errors import EndpointError
from localgif.records import Verdict
from localgif.run.optimize import optimize
from localgif.store.read import load_run
from tests.conftest import Jumping
from tests.gremlin import ACTS, GOOD, Act, Gremlin, answer, misbehaving
from tests.kit import Notes, fenced, model, program, settings

Ask = Callable[[str, Callable[[str], None]], str]


def never(_: str) -> str:
    return ""


def unheard(_: str) -> None: ...


def animate(url: str, notice: Callable[[str], None] = unheard, think: bool = False, **changes: Any) -> Reply:
    with Animator(model("animator", url, num_predict=64, think=think), url, notice, **changes) as animator:
        return animator.write([("user", "hi")], 1, never)


def reflect(
    url: str, provider: str, notice: Callable[[str], None] = unheard, think: bool = False, **changes: Any
) -> Reply:
    chosen = model("reflector", url, litellm=f"{provider}/scripted:1b", num_predict=64, think=think)
    return Reflector(chosen, url, notice, **changes).write("hi", 1, never, 64)


def plain(url: str, provider: str, notice: Callable[[str], None] = unheard) -> str:
    """As PlainReflector asks, through gepa's LM."""
    from gepa.lm import LM

    chosen = model("reflector", url, litellm=f"{provider}/scripted:1b", num_predict=64)
    try:
        return LM(**reflector_arguments(chosen, url, notice))("hi") or ""
    except Exception as error:
        raise reflector_failure(chosen, url, error) from error


ROLES: dict[str, Ask] = {
    "animator": lambda url, notice: animate(url, notice).text,
    "reflector": lambda url, notice: reflect(url, "ollama", notice).text,
    "reflector, ollama_chat": lambda url, notice: reflect(url, "ollama_chat", notice).text,
    "plain": lambda url, notice: plain(url, "ollama", notice),
    "plain, ollama_chat": lambda url, notice: plain(url, "ollama_chat", notice),
}
EVERY_ROLE = pytest.mark.parametrize("ask", ROLES.values(), ids=ROLES)

#: What passes with time: asked five times in all, when the server takes the request and spoils it.
PASSING = {
    "dies before a token": "the connection broke",
    "dies in the middle": "the connection broke",
    "ends without done": "",
    "reports an error in the middle": "model runner has unexpectedly stopped",
    "500": "the server is ill",
}
#: What does not: asked once.
LASTING = {
    "404": "not found",
    "HTML": "<html><body>",
    "wrong JSON": '"role": "assi',
    "a list": '[{"done": true}]',
    "endless tokens": "does not stop",
    "one endless line": "does not stop",
}


@EVERY_ROLE
@pytest.mark.parametrize(("fault", "said"), PASSING.items(), ids=PASSING)
def test_what_passes_with_time_is_asked_again_and_goes_on(ask: Ask, fault: str, said: str) -> None:
    notices: list[str] = []
    with misbehaving(ACTS[fault], ACTS[fault], ACTS["good"]) as server:
        assert ask(server.url, notices.append).split() == GOOD.split()
        assert len(server.asked) == 3 and server.asked[0] == server.asked[2]
    assert len(notices) == 2 and all(server.url in notice and said in notice for notice in notices)


@EVERY_ROLE
@pytest.mark.parametrize(("fault", "said"), PASSING.items(), ids=PASSING)
def test_what_does_not_pass_is_an_error_after_five_times(ask: Ask, fault: str, said: str, clock: Jumping) -> None:
    with misbehaving(ACTS[fault]) as server, pytest.raises(EndpointError) as caught:
        ask(server.url, unheard)
    assert len(server.asked) == 5 and clock.slept == [0.5, 1, 2, 4]
    assert server.url in caught.value.message and said in caught.value.message
    assert "asked 5 times" in caught.value.message and caught.value.remedy and caught.value.exit_code == 4


@EVERY_ROLE
@pytest.mark.parametrize(("fault", "said"), LASTING.items(), ids=LASTING)
def test_what_stays_wrong_is_an_error_at_once(ask: Ask, fault: str, said: str) -> None:
    with misbehaving(ACTS[fault]) as server:
        with pytest.raises(EndpointError) as caught:
            ask(server.url, unheard)
        assert len(server.asked) == 1
        (fate,) = server.wait_for_fates(1)
    assert server.url in caught.value.message and said in caught.value.message
    assert caught.value.remedy and caught.value.exit_code == 4
    assert fate == ("left" if "endless" in fault else "done"), "nobody reads what does not stop"


@EVERY_ROLE
@pytest.mark.parametrize("fault", ["503", "HTML with 502"])
def test_a_server_that_says_not_now_is_given_five_minutes(ask: Ask, fault: str, clock: Jumping) -> None:
    with misbehaving(ACTS[fault]) as server, pytest.raises(EndpointError) as caught:
        ask(server.url, unheard)
    assert 290 < sum(clock.slept) <= 300 and max(clock.slept) == 30
    assert len(server.asked) == len(clock.slept) + 1
    assert "busy" in caught.value.message or "hotel" in caught.value.message


@EVERY_ROLE
def test_a_server_that_asks_to_be_left_alone_is(ask: Ask, clock: Jumping) -> None:
    with misbehaving(ACTS["429"], ACTS["429"], ACTS["good"]) as server:
        assert ask(server.url, unheard).split() == GOOD.split()
    assert clock.slept == [7, 7]


@EVERY_ROLE
def test_a_prompt_that_does_not_fit_is_an_error_at_once(ask: Ask) -> None:
    with misbehaving(ACTS["does not fit"]) as server, pytest.raises(EndpointError, match="9000 tokens") as caught:
        ask(server.url, unheard)
    assert len(server.asked) == 1 and "num_ctx" in caught.value.remedy


@EVERY_ROLE
def test_a_server_that_is_away_and_comes_back_costs_nothing_but_time(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with misbehaving(ACTS["good"]) as server:
        server.stop()
        slept: list[float] = []

        def back_at_the_third(self: Jumping, seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                server.start()

        monkeypatch.setattr(Jumping, "sleep", back_at_the_third)
        assert ask(server.url, unheard).split() == GOOD.split()
        assert slept == [0.5, 1, 2] and len(server.asked) == 1


@EVERY_ROLE
def test_a_server_that_does_not_come_back_is_an_error(ask: Ask, clock: Jumping) -> None:
    with misbehaving() as server:
        server.stop()
        with pytest.raises(EndpointError, match="nobody answers there") as caught:
            ask(server.url, unheard)
    assert 290 < sum(clock.slept) <= 300 and "Start the server" in caught.value.remedy


@pytest.mark.parametrize("fault", ["hangs before a token", "hangs between tokens"])
@pytest.mark.parametrize("role", ["animator", "ollama", "ollama_chat"])
def test_silence_has_an_end_and_the_connection_too(role: str, fault: str) -> None:
    with misbehaving(ACTS[fault]) as server:
        with pytest.raises(EndpointError, match="nothing came for too long") as caught:
            animate(server.url, idle=0.3) if role == "animator" else reflect(server.url, role, idle=0.3)
        assert server.wait_for_fates(1) == ["left"], "the server is free again"
        assert len(server.asked) == 1
    assert "hangs" in caught.value.remedy


@pytest.mark.parametrize("role", ["animator", "ollama", "ollama_chat"])
def test_odd_answers_that_can_be_read_are_answers(role: str) -> None:
    def ask(server: Gremlin) -> Reply:
        return animate(server.url) if role == "animator" else reflect(server.url, role)

    with misbehaving(ACTS["blank lines"]) as server:
        assert ask(server).text == GOOD
    with misbehaving(ACTS["empty"]) as server:
        assert (ask(server).text, len(server.asked)) == ("", 1)
    with misbehaving(ACTS["counts that are null"]) as server:
        reply = ask(server)
    assert reply.text == GOOD and reply.output_tokens >= 1 and reply.done_reason == "stop"


@pytest.mark.parametrize("role", ["animator", "ollama", "ollama_chat"])
def test_counts_that_are_no_numbers_are_never_handed_on(role: str) -> None:
    with misbehaving(ACTS["counts that are no numbers"]) as server:
        try:
            reply = animate(server.url) if role == "animator" else reflect(server.url, role)
        except EndpointError as error:
            assert "not an answer of the Ollama API" in error.message and error.remedy
        else:
            assert reply.text == GOOD and isinstance(reply.output_tokens, int)


# Not ollama_chat: litellm takes the tags off thoughts that a server leaves in the text, and leaves the thoughts.
@pytest.mark.parametrize("role", ["animator", "ollama"])
def test_thoughts_are_no_answer(role: str) -> None:
    with misbehaving(ACTS["only thoughts"]) as server, pytest.raises(EndpointError) as caught:
        animate(server.url) if role == "animator" else reflect(server.url, role)
    assert "nothing but thoughts" in caught.value.message
    assert "num_predict" in caught.value.remedy and len(server.asked) == 1


@pytest.mark.parametrize("role", ["animator", "ollama"])
def test_a_model_that_may_think_and_does_nothing_else_has_written_nothing(role: str) -> None:
    with misbehaving(ACTS["only thoughts"]) as server:
        reply = animate(server.url, think=True) if role == "animator" else reflect(server.url, role, think=True)
    assert (reply.text, reply.done_reason) == ("", "length")
    assert [asked["think"] for asked in server.asked] == [True]


@pytest.mark.parametrize("role", ["animator", "ollama", "ollama_chat"])
def test_a_prompt_that_was_cut_in_silence_is_found_out(role: str) -> None:
    long = "Draw a red ball. " * 1000
    with (
        misbehaving(ACTS["leaves out a part"]) as server,
        pytest.raises(EndpointError, match="read only 7 tokens of it") as caught,
    ):
        if role == "animator":
            with Animator(model("animator", server.url), server.url) as animator:
                animator.write([("system", long), ("user", "hi")], 1, never)
        else:
            chosen = model("reflector", server.url, litellm=f"{role}/scripted:1b")
            Reflector(chosen, server.url).write(long, 1, never, 64)
    assert "num_ctx" in caught.value.remedy


@EVERY_ROLE
def test_other_weights_after_a_restart_are_not_asked(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with misbehaving(ACTS["dies in the middle"], ACTS["good"]) as server:

        def restart(self: Jumping, seconds: float) -> None:
            server.stop()
            server.listed = "cd" * 32
            server.start()

        monkeypatch.setattr(Jumping, "sleep", restart)
        with pytest.raises(EndpointError, match="other weights") as caught:
            ask(server.url, unheard)
        assert len(server.asked) == 1
    assert "cdcdcdcdcdcd" in caught.value.message and "abababababab" in caught.value.message


@pytest.mark.parametrize("role", ["animator", "ollama", "ollama_chat"])
def test_a_client_that_has_enough_leaves_at_once(role: str) -> None:
    left = threading.Event()

    def talkative(talk: Any) -> None:
        talk.head()
        talk.line("```\n")
        talk.line("```\n")
        try:
            talk.hold()
        finally:
            left.set()

    def closed(text: str) -> str:
        return "closed" if text.count("```") == 2 else ""

    with misbehaving(talkative) as server:
        if role == "animator":
            with Animator(model("animator", server.url), server.url) as animator:
                reply = animator.write([("user", "hi")], 1, closed)
        else:
            chosen = model("reflector", server.url, litellm=f"{role}/scripted:1b")
            reply = Reflector(chosen, server.url).write("hi", 1, closed, 64)
        assert reply.done_reason == "closed" and left.wait(1), "within a second no token is written for nobody"


def test_no_descriptor_is_left_after_many_failures() -> None:
    dying = ACTS["dies in the middle"]
    with misbehaving(dying) as server, Animator(model("animator", server.url), server.url) as animator:
        before = open_descriptors()
        for _ in range(5):
            with pytest.raises(EndpointError):
                animator.write([("user", "hi")], 1, never)
        server.wait_for_fates(25)
        deadline = time.monotonic() + 5
        while open_descriptors() > before:  # the server is in this process too, and closes on its own threads
            assert time.monotonic() < deadline


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# --- whole runs ------------------------------------------------------------------------------------------------------

POOR = answer(fenced(program(12, 100)))
CALLS = {"metric_calls": 3, "samples": 1, "fresh": 1}


def samples_of(folder: Path) -> list[tuple[Any, ...]]:
    return [(s.purpose, s.metric_call, s.seed, s.verdict, s.code, s.gif) for s in load_run(folder).samples]


@pytest.fixture(scope="module", params=["plain", "instruction-only"])
def well(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, int]:
    """The reflection of a run without faults, its folder, and how many calls it made."""
    folder = tmp_path_factory.mktemp("well")
    with misbehaving(POOR) as server:
        optimize(settings(server.url, reflection=request.param, **CALLS), folder, "r", Notes())
        return request.param, folder / "r", len(server.asked)


@pytest.mark.parametrize("fault", ["dies in the middle", "429"])
def test_a_short_fault_at_every_second_call_changes_nothing_in_a_run(
    well: tuple[str, Path, int], tmp_path: Path, fault: str
) -> None:
    reflection, undisturbed, calls = well
    faulty: list[Act] = [act for _ in range(calls) for act in (ACTS[fault], POOR)]
    with misbehaving(*faulty) as server:
        optimize(settings(server.url, reflection=reflection, **CALLS), tmp_path, "ill", Notes())
        assert len(server.asked) == 2 * calls
    assert samples_of(tmp_path / "ill") == samples_of(undisturbed)


def test_an_outage_that_lasts_ends_the_run_with_what_was_measured(tmp_path: Path) -> None:
    with misbehaving(POOR) as server:

        class Outage(Notes):
            def metric_call(self, *arguments: Any, **more: Any) -> None:
                server.stop()

        with pytest.raises(EndpointError) as caught:
            optimize(settings(server.url, **CALLS), tmp_path, "r", Outage())
    assert caught.value.exit_code == 4 and server.url in caught.value.message
    run = load_run(tmp_path / "r")
    assert run.record.status == "failed" and run.record.result is None
    assert [sample.verdict for sample in run.samples] == [Verdict.OK], "one was measured, none is made up"
