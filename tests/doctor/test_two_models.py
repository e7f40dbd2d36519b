"""Two models on one machine: both held when there is memory, else loaded in turns. With real engines."""

from __future__ import annotations

import re

import pytest

from localgif.doctor.models import Measured, ask
from localgif.endpoint.child import embedded_endpoint
from localgif.endpoint.discover import allocated_window
from localgif.models.find import Weights
from localgif.run import roles
from localgif.run.checks import Memory
from localgif.search.progress import Silent
from localgif.settings import EndpointSettings
from tests.kit import model

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
    assert len(set(texts)) == 1, "the same weights, whoever is asked"


def test_the_window_of_a_real_engine_is_measured(smollm2: Weights) -> None:
    with embedded_endpoint(roles.serve_config(((ONE, smollm2),))) as endpoint:
        one = Measured(ONE, endpoint.url, Silent())
        found = {check.name.split()[0]: check for check in one.checks()}
    assert one.answers and one.pace is not None and one.pace.read > one.pace.write > 0
    assert found["endpoint"].status == "PASS" and "a window of 512 tokens" in found["endpoint"].evidence
    read = re.search(r"a prompt of (\d+) tokens", found["canary"].evidence)
    assert read and 0.8 * 512 < int(read[1]) <= 0.95 * 512, found
    assert found["canary"].status in ("PASS", "WARN"), "a model of that size need not find the word"


def test_one_model_never_takes_turns_with_itself(smollm2: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "this_memory", lambda: Memory(2**40, 0))
    assert not roles.serve_config(((ONE, smollm2), (ONE, smollm2))).swap
