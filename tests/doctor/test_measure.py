"""What an endpoint really does: window, speed, repeats, and a prompt that must be read from its first word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.doctor import models
from localgif.doctor.doctor import as_object, attempt_seconds, estimate, reflection_seconds, summary, table
from localgif.doctor.exam import items, mark
from localgif.doctor.models import Measured, Pace, Said, ask, canary, filler, judge, minutes
from localgif.errors import EndpointError
from localgif.run.checks import Check
from localgif.search.progress import Silent
from localgif.tasks.suite import load_suite
from tests.doctor.kit import READ, Server, serving
from tests.kit import model, settings
from tests.scripted import MODEL

SUITE = load_suite("single", "bouncing-ball")


def measured(server: Server, **changes: Any) -> tuple[dict[str, Check], Measured]:
    with serving(server):
        one = Measured(model("animator", server.url, **changes), server.url, Silent())
        return {check.name.removesuffix(f" {MODEL}"): check for check in one.checks()}, one


def test_a_sound_server_passes_everything() -> None:
    server = Server()
    found, one = measured(server)
    assert {name: check.status for name, check in found.items()} == {
        "endpoint": "PASS",
        "speed": "PASS",
        "canary": "PASS",
    }
    assert "a window of 4096 tokens" in found["endpoint"].evidence
    assert "3 identical requests got the same answer" in found["speed"].evidence
    assert one.pace is not None
    assert (round(one.pace.read), round(one.pace.write)) == (500, 20)
    last = server.asked_whole[-1]
    assert len(server.asked_whole) == 5
    assert (last["truncate"], last["think"], last["options"]["num_ctx"]) == (False, False, 4096)
    tokens = len(last["messages"][0]["content"].split())
    assert 0.85 * 4096 < tokens < 0.95 * 4096
    assert f"{tokens} tokens (" in found["canary"].evidence and "came back" in found["canary"].evidence


def test_the_same_request_gets_other_answers() -> None:
    found, _ = measured(Server(answers=["It falls.", "It rises.", "It rests."]))
    assert (found["speed"].status, "3 different answers" in found["speed"].evidence) == ("WARN", True)
    assert "--seed" in found["speed"].remedy


def test_a_server_that_cuts_prompts_in_silence_fails() -> None:
    found, _ = measured(Server(cut=2050))
    assert found["canary"].status == "FAIL"
    assert "read 2050 of about" in found["canary"].evidence and "cuts prompts" in found["canary"].evidence


def test_a_server_that_refuses_a_long_prompt_fails_with_its_words() -> None:
    found, one = measured(Server(refuse_from=1000))
    assert found["canary"].status == "FAIL" and "exceeds the available context size" in found["canary"].evidence
    assert not one.answers


def test_a_window_smaller_than_asked_fails_and_one_that_nobody_tells_warns() -> None:
    found, _ = measured(Server(window=2048))
    assert found["endpoint"].status == "FAIL" and "num_ctx = 2048" in found["endpoint"].remedy
    assert found["canary"].status == "PASS", "what there is of a window is still tried"
    found, _ = measured(Server(window=None))
    assert found["endpoint"].status == "WARN"


def test_a_model_that_does_not_find_the_word_is_weak_and_no_cut() -> None:
    found, _ = measured(Server(weak=True))
    assert found["canary"].status == "WARN" and "too weak" in found["canary"].remedy


def test_a_server_without_counts_is_asked_no_canary() -> None:
    found, one = measured(Server(counts=False))
    assert found["canary"].status == "SKIP"
    assert one.pace is not None and one.pace.read == 0


def test_a_model_without_a_word_fails() -> None:
    found, _ = measured(Server(silent=True))
    assert found["speed"].status == "FAIL" and "no text at all" in found["speed"].evidence


def test_a_server_that_goes_away_fails_once_and_the_rest_is_skipped() -> None:
    server = Server()
    with serving(server):
        pass
    one = Measured(model("animator", server.url), server.url, Silent())
    assert [check.status for check in one.checks()] == ["FAIL", "SKIP", "SKIP"]
    assert not one.answers
    with pytest.raises(EndpointError, match="gave no answer"):
        ask(server.url, one._model, "x", longest=1)


def test_a_slow_machine_gets_a_shorter_canary_and_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "CANARY_SECONDS", 1000 / READ)
    monkeypatch.setattr(models, "RUN_TOKENS", 1500)
    server = Server()
    found, _ = measured(server)
    assert found["canary"].status == "PASS"
    assert 1300 < len(server.asked_whole[-1]["messages"][0]["content"].split()) < 1600
    assert "90 % of it would take about 7 s here" in found["canary"].evidence


@given(st.integers(1, 500), st.sampled_from(["heron", "cobalt"]))
def test_a_canary_has_its_word_at_the_very_top_and_once(lines: int, word: str) -> None:
    text = canary(word, "123456", lines)
    assert text.index(word) < 30 and text.count(word) == 1
    assert text.count("\n") > lines
    assert filler("one", lines).count("\n") == lines + 1


@given(st.integers(0, 10_000) | st.none(), st.booleans())
def test_a_cut_is_found_whatever_the_answer_says(read: int | None, back: bool) -> None:
    said = Said("heron" if back else "no", read, 1.0, 3, 0.1, 1.1)
    found = judge("canary", said, "heron", 6000, 7000, 8192, Pace(100, 10))
    if read is not None and read < 0.85 * 6000:
        assert found.status == "FAIL"
    else:
        assert found.status == ("PASS" if back else "WARN")
    assert bool(found.remedy) == (found.status != "PASS")


@pytest.mark.parametrize(
    ("number", "reply", "why"),
    [
        (0, "Rule: Use a loop over 24 frames, one new picture in each.\n", ""),
        (0, "def make_gif(path):\n    pass\n", "function_for_rule"),
        (0, "", "empty"),
        (1, "Rule: Let the last frame lead back to the first one.\n", ""),
        (1, "Rule: Draw everything in a strong and friendly colour.\n", "speaks of something else"),
        (2, "Rule: Draw the ball in red on a white background in each frame.\n", ""),
        (2, "Rule: Use nice colours for everything that is drawn.\n", "duplicate"),
    ],
)
def test_the_reflectors_exam_is_marked_by_the_gate_of_a_run(number: int, reply: str, why: str) -> None:
    item = items(SUITE, settings("http://x"))[number]
    assert "Rule:" in item.request
    assert mark(item, reply, "stop", SUITE) == why


def test_minutes_follow_the_budget() -> None:
    given_settings = settings("http://x", metric_calls=12, samples=2, fresh=4)
    found = minutes(given_settings, SUITE, attempt_seconds=15, reflection_seconds=30)
    assert (found.samples, found.least, found.most) == (32, 8.0, 30.0)
    pace = Pace(40, 200 / 15)
    row, same = estimate(given_settings, SUITE, 15, reflection_seconds(pace))
    assert same is not None and same.least == 8.0 and row.status == "PASS"
    assert "8 to 30 minutes" in row.evidence
    row, nothing = estimate(given_settings, SUITE, None, 30)
    assert (row.status, nothing) == ("SKIP", None)
    assert attempt_seconds(pace) == pytest.approx(150 / 40 + 230 * 15 / 200)
    assert attempt_seconds(None) is reflection_seconds(Pace(40, 0)) is None


ROWS = [
    Check(name="python", status="PASS", evidence="cpython"),
    Check(name="sandbox level", status="FAIL", evidence="too weak\nby far", remedy="another kernel\nor none"),
    Check(name="x", status="WARN", evidence="odd", remedy="look"),
    Check(name="y", status="SKIP", evidence="not now"),
]


def test_the_table_is_aligned_and_ends_with_a_summary() -> None:
    assert table(ROWS).splitlines() == [
        "PASS  python         cpython",
        "FAIL  sandbox level  too weak",
        "                     by far",
        "                     -> another kernel",
        "                        or none",
        "WARN  x              odd",
        "                     -> look",
        "SKIP  y              not now",
        "",
        "1 of 4 checks passed, 1 warnings (x), 1 skipped, 1 FAILED (sandbox level)",
    ]
    assert summary(ROWS[:1]) == "1 of 1 checks passed"


def test_the_object_says_whether_all_is_well() -> None:
    bad = as_object(ROWS, None, 0.123, 4.567)
    assert (bad["ok"], bad["minutes"], bad["seconds"]) == (False, None, {"cheap": 0.12, "whole": 4.57})
    assert bad["checks"][1] == {
        "name": "sandbox level",
        "status": "FAIL",
        "evidence": "too weak\nby far",
        "remedy": "another kernel\nor none",
    }
    assert as_object(ROWS[:1], None, 0, 0)["ok"]
