"""Best of N: what a run does that asks no reflector, and how a comparison counts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgif.errors import ConfigError, EndpointError
from localgif.models.toml import make_settings
from localgif.report.story import verdict_sentence
from localgif.run.optimize import optimize
from localgif.run.resume import resume
from localgif.store.read import load_run
from localgif.sweep.read import Finished, read_run
from tests.support.kills import models_file
from tests.support.kit import Notes, fenced, program, settings
from tests.support.scripted import Scripted, serving

GOOD, HALF, POOR = (fenced(program(n, delay)) for n, delay in ((24, 40), (24, 100), (12, 100)))


@pytest.mark.slow
def test_the_budget_goes_into_samples_of_the_seed_prompt_and_the_best_one_counts(tmp_path: Path) -> None:
    script = [POOR, HALF, POOR, GOOD, POOR, HALF, POOR]
    with serving(Scripted(animator=script)) as server:
        wanted = settings(server.url, reflection="none", metric_calls=3, samples=2, fresh=1)
        result = optimize(wanted, tmp_path, "luck", Notes())
    assert server.asked("/api/generate") == [], "no reflector is asked"
    run = load_run(tmp_path / "luck")
    search = [s for s in run.samples if s.purpose == "search"]
    assert [s.index for s in search] == [0, 1, 2, 3, 4, 5]
    assert len({s.seed for s in search}) == 6 and len({s.candidate for s in run.samples}) == 1
    best = max(search, key=lambda s: s.score.total)
    assert best.index == 3
    found = result.best_of
    assert found is not None
    assert (found.samples, found.scores, found.gifs) == (6, (best.score.total,), (best.gif,))
    assert result.ended_by == "budget" and result.metric_calls == 3
    assert result.best.is_seed and result.best.scores == result.seed.scores != found.scores
    assert f"{best.score.total:.3f}" in verdict_sentence(result) and "6 samples" in verdict_sentence(result)

    counted = read_run(tmp_path / "luck")
    assert isinstance(counted, Finished)
    assert counted.score == best.score.total > counted.start == result.seed.mean
    strict = read_run(tmp_path / "luck", "strict")
    assert isinstance(strict, Finished) and strict.best == (tuple(found.also[strict.rule]),)


def test_it_ends_when_a_sample_reaches_the_target(tmp_path: Path) -> None:
    with serving(Scripted(animator=[POOR, GOOD, POOR])) as server:
        wanted = settings(server.url, reflection="none", metric_calls=9, samples=1, fresh=1, target=0.95)
        result = optimize(wanted, tmp_path, None, Notes())
    assert (result.ended_by, result.metric_calls) == ("target", 2)
    assert result.best_of is not None and result.best_of.samples == 2


def test_several_tasks_take_turns_and_each_keeps_its_own_best(tmp_path: Path) -> None:
    with serving(Scripted(animator=[HALF, GOOD, POOR, HALF, POOR])) as server:
        wanted = settings(
            server.url, reflection="none", mode="multi", task="bouncing-ball,sliding-square", metric_calls=4, samples=1,
            fresh=1,
        )  # fmt: skip
        result = optimize(wanted, tmp_path, "two", Notes())
    search = [s for s in load_run(tmp_path / "two").samples if s.purpose == "search"]
    assert [s.task for s in search] == ["bouncing-ball", "sliding-square"] * 2
    assert result.best_of is not None and result.best_of.tasks == ("bouncing-ball", "sliding-square")
    assert result.best_of.scores == (search[2].score.total, search[1].score.total)
    counted = read_run(tmp_path / "two")
    assert isinstance(counted, Finished) and len(counted.best) == 2


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_to_the_same_end(tmp_path: Path) -> None:
    results, samples = [], []
    lost = "what the interrupted call would have said"
    for name, script, fail_at in (
        ("cut", [POOR, HALF, POOR, lost, GOOD, HALF, POOR], 4),
        ("whole", [POOR, HALF, POOR, GOOD, HALF, POOR], None),
    ):
        with serving(Scripted(animator=script, fail_at=fail_at)) as server:
            file = models_file(tmp_path, server.url)
            wanted = make_settings(
                file, reflection="none", metric_calls=5, samples=1, fresh=1, scorer="article", target=None
            )
            if fail_at is None:
                results.append(optimize(wanted, tmp_path, name, Notes()))
            else:
                with pytest.raises(EndpointError):
                    optimize(wanted, tmp_path, name, Notes())
                assert len(load_run(tmp_path / name).samples) == 3
                results.append(resume(tmp_path / name, file, Notes(), {}))
                assert len(server.asked("/api/chat")) == 7, "nothing that was finished is asked again"
        samples.append([(s.purpose, s.index, s.score.total) for s in load_run(tmp_path / name).samples])
    assert samples[0] == samples[1]
    assert results[0].best_of == results[1].best_of


def test_a_split_has_nothing_to_keep_the_best_of(tmp_path: Path) -> None:
    wanted = settings("http://127.0.0.1:9", reflection="none", mode="general", split="briefs", metric_calls=9)
    with pytest.raises(ConfigError, match="held-out"):
        optimize(wanted, tmp_path, None, Notes())
    assert not any(tmp_path.iterdir())


def test_a_run_without_time_ends_before_its_first_sample(tmp_path: Path) -> None:
    with serving(Scripted(animator=[POOR])) as server:
        wanted = settings(server.url, reflection="none", metric_calls=2, samples=1, fresh=1, minutes=1e-9)
        result = optimize(wanted, tmp_path, "late", Notes())
    assert (result.ended_by, result.metric_calls) == ("minutes", 0)
    assert result.best_of is not None and result.best_of.samples == 0
