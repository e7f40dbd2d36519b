"""A model is measured: its window, speed and repeats, a canary, what is stored of it, and its exam."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.doctor import models
from localgif.doctor.models import (
    Measured,
    Pace,
    Said,
    StoredPace,
    ask,
    canary,
    filler,
    items,
    judge,
    mark,
    recall,
    remember,
)
from localgif.endpoint.child import embedded_endpoint
from localgif.endpoint.discover import allocated_window
from localgif.errors import EndpointUnreachable
from localgif.models.find import Weights
from localgif.run import roles
from localgif.run.checks import Check, Memory
from localgif.search.progress import Silent
from localgif.settings import EndpointSettings
from localgif.tasks.suite import load_suite
from tests.support.kit import model, settings
from tests.support.measurable import READ, Server
from tests.support.scripted import MODEL, serving


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


@pytest.mark.parametrize(
    ("fault", "check", "status", "said"),
    [
        ({"answers": ["It falls.", "It rises.", "It rests."]}, "speed", "WARN", ("3 different answers", "--seed")),
        ({"silent": True}, "speed", "FAIL", ("got any text",)),
        ({"cut": 2050}, "canary", "FAIL", ("read 2050 of about", "cuts prompts")),
        ({"refuse_from": 1000}, "canary", "FAIL", ("exceeds the available context size",)),
        ({"weak": True}, "canary", "WARN", ("too weak",)),
        ({"counts": False}, "canary", "SKIP", ()),
        ({"window": 2048}, "endpoint", "FAIL", ("num_ctx = 2048",)),
        ({"window": None}, "endpoint", "WARN", ()),
    ],
)
def test_what_is_wrong_with_a_server_or_a_model_is_found(
    fault: dict[str, Any], check: str, status: str, said: tuple[str, ...]
) -> None:
    found, one = measured(Server(**fault))
    assert found[check].status == status
    assert all(words in f"{found[check].evidence}{found[check].remedy}" for words in said)
    assert one.answers == ("refuse_from" not in fault)
    assert found["canary"].status == "PASS" or "window" not in fault, "what there is of a window is still tried"
    assert one.pace is not None and (one.pace.read == 0) == ("counts" in fault)


def test_a_server_that_goes_away_fails_once_and_the_rest_is_skipped() -> None:
    server = Server()
    with serving(server):
        pass
    asked = model("animator", server.url)
    one = Measured(asked, server.url, Silent())
    assert [check.status for check in one.checks()] == ["FAIL", "SKIP", "SKIP"]
    assert not one.answers
    with pytest.raises(EndpointUnreachable, match="no answer from"):
        ask(server.url, asked, "x", longest=1)


def test_a_slow_machine_gets_a_shorter_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "CANARY_SECONDS", 1000 / READ)
    monkeypatch.setattr(models, "RUN_TOKENS", 1500)
    server = Server()
    found, _ = measured(server)
    assert found["canary"].status == "PASS"
    assert 1300 < len(server.asked_whole[-1]["messages"][0]["content"].split()) < 1600
    assert "90 % of it would take about 7 s" in found["canary"].evidence


@given(st.integers(1, 500), st.sampled_from(["heron", "cobalt"]))
def test_a_canary_has_its_word_at_the_very_top_and_once(lines: int, word: str) -> None:
    text, question = canary(word, "123456", lines)
    assert word not in question and "code word" in question
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


# --- stored measurements ---------------------------------------------------------------------------------------------

FIRST = settings("http://127.0.0.1:1")
OTHER = settings("http://127.0.0.1:2")


def test_a_measurement_is_found_for_its_models_only(tmp_path: Path) -> None:
    assert recall(tmp_path / "new", FIRST) is None
    remember(tmp_path / "new", FIRST, 12.3456, 7)
    kept = recall(tmp_path / "new", FIRST)
    assert kept is not None and (kept.attempt, kept.reflection) == (12.346, 7)
    assert recall(tmp_path / "new", OTHER) is None
    mixed = FIRST.model_copy(update={"reflector": OTHER.reflector})
    assert recall(tmp_path / "new", mixed) is None
    remember(tmp_path / "new", OTHER, 1, 2)
    assert recall(tmp_path / "new", FIRST) == kept
    assert recall(tmp_path / "new", mixed) == StoredPace(12.346, 2, kept.at)


def test_a_folder_that_is_not_writable_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remember(tmp_path / "file", FIRST, 1, 2)
    assert recall(tmp_path / "file", FIRST) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(entry=JSON, seconds=JSON, whole=st.sampled_from(["file", "models", "entry", "seconds"]))
def test_a_damaged_file_is_not_a_measurement(
    tmp_path_factory: pytest.TempPathFactory, entry: object, seconds: object, whole: str
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    remember(folder, FIRST, 1, 2)
    (file,) = folder.iterdir()
    stored = json.loads(file.read_text())
    one = next(iter(stored["models"]))
    if whole == "seconds":
        stored["models"][one]["seconds"] = seconds
    elif whole == "entry":
        stored["models"][one] = entry
    else:
        stored = entry if whole == "file" else {**stored, "models": entry}
    file.write_text(json.dumps(stored))
    found = recall(folder, FIRST)
    assert found is None or (whole == "seconds" and isinstance(seconds, int | float) and seconds > 0)
    remember(folder, FIRST, 3, 4)
    kept = recall(folder, FIRST)
    assert kept is not None and (kept.attempt, kept.reflection) == (3, 4)


# --- real engines ----------------------------------------------------------------------------------------------------

EMBEDDED = EndpointSettings(name="embedded", kind="embedded", url=None)
ONE, TWO = (
    model("animator", "", endpoint=EMBEDDED, model=f"{name}:135m", num_ctx=512, temperature=0.0)
    for name in ("one", "two")
)


@pytest.mark.parametrize("room", [True, False])
def test_each_answers_and_only_what_fits_stays_loaded(
    smollm2: Weights, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    here = Memory(2**40, 2**40) if room else Memory(2**40, 0)
    monkeypatch.setattr(roles, "this_memory", lambda: here)
    config = roles.serve_config(((ONE, smollm2), (TWO, smollm2)))
    assert config.swap != room
    with embedded_endpoint(config) as endpoint:
        texts = []
        for wanted, other in ((ONE, TWO), (TWO, ONE), (ONE, TWO)):
            texts.append(ask(endpoint.url, wanted, "Name one colour.", longest=8).text)
            assert allocated_window(endpoint.url, wanted.model) == 512
            if len(texts) > 1:
                assert (allocated_window(endpoint.url, other.model) is not None) == room
    assert len(set(texts)) == 1, "both names have the same weights"


def test_the_window_of_a_real_engine_is_measured(smollm2: Weights) -> None:
    with embedded_endpoint(roles.serve_config(((ONE, smollm2),))) as endpoint:
        one = Measured(ONE, endpoint.url, Silent())
        found = {check.name.split()[0]: check for check in one.checks()}
    assert one.answers and one.pace is not None and one.pace.read > 0 and one.pace.write > 0
    assert found["endpoint"].status == "PASS" and "a window of 512 tokens" in found["endpoint"].evidence
    read = re.search(r"a prompt of (\d+) tokens", found["canary"].evidence)
    assert read and 0.8 * 512 < int(read[1]) <= 0.95 * 512, found
    assert found["canary"].status in ("PASS", "WARN"), "a model of that size need not find the word"


def test_one_model_never_takes_turns_with_itself(smollm2: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "this_memory", lambda: Memory(2**40, 0))
    assert not roles.serve_config(((ONE, smollm2), (ONE, smollm2))).swap


# --- exams ------------------------------------------------------------------------------------------------------------

SUITE = load_suite("single", "bouncing-ball")


@pytest.mark.parametrize(
    ("number", "reply", "why"),
    [
        (0, "Rule: Use a loop over 24 frames, one new picture in each.\n", ""),
        (0, "def make_gif(path):\n    pass\n", "function_for_rule"),
        (0, "", "empty"),
        (1, "Rule: Let the last frame lead back to the first one.\n", ""),
        (1, "Rule: Draw everything in a strong and friendly colour.\n", "is about something else"),
        (2, "Rule: Draw the ball in red on a white background in each frame.\n", ""),
        (2, "Rule: Use nice colours for everything that is drawn.\n", "duplicate"),
    ],
)
def test_a_reply_is_marked_as_in_a_run(number: int, reply: str, why: str) -> None:
    item = items(SUITE, settings("http://x"))[number]
    assert "Rule:" in item.request
    assert mark(item, reply, "stop", SUITE) == why
