"""The simulation of many endpoints: it keeps to the laws of queues, and reads what real run folders say."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgif.run.optimize import optimize
from localgif.search.progress import Silent
from scripts.scale_model import (
    CORES,
    DISK,
    ENDPOINTS,
    SCHEDULER,
    STATIONS,
    Latencies,
    Place,
    RunSteps,
    Step,
    bounds,
    demands,
    knee,
    simulate,
)
from scripts.sections import replaced
from scripts.simulate_scale import BEGIN, END, PAGE, outcomes, record, recorded, table
from tests.scripted import MODEL, serving
from tests.search.kills import Deterministic, chosen

SECONDS = st.floats(0.01, 10)
STEPS = 200


def latencies(*steps: Step, collect: float = 0.0) -> Latencies:
    return Latencies(model="m", runs=(RunSteps(run="r", steps=steps, collect=collect, memory=1),))


def sample(model: float = 0.0, sandbox: float = 0.0, rest: float = 0.0, store: float = 0.0) -> Step:
    return Step("sample", model, sandbox, rest, store)


@st.composite
def recordings(draw: st.DrawFn) -> Latencies:
    """A run of one to six steps, some of them reflections."""
    kinds = st.sampled_from(("sample", "reflection"))
    small = st.floats(0, 1)
    steps = draw(st.lists(st.builds(Step, kinds, SECONDS, small, small, small), min_size=1, max_size=6))
    return latencies(*steps, collect=draw(small))


@given(recordings(), st.integers(1, 12), st.integers(1, 3), st.integers(1, 4), st.sampled_from((0.0, 0.01, 1.0)))
@settings(max_examples=30, deadline=None)
def test_no_station_gives_more_than_it_has(
    recording: Latencies, endpoints: int, machines: int, cores: int, dispatch: float
) -> None:
    place = Place(endpoints=endpoints, machines=machines, cores=cores, dispatch=dispatch)
    outcome = simulate(recording, place, STEPS)
    assert outcome.busy.keys() == set(STATIONS)
    assert all(0 <= share <= 1 + 1e-9 for share in outcome.busy.values())
    # At the fastest that a step can be, with those that were under way when the time began.
    fastest, longest = (pick(step.model for run in recording.runs for step in run.steps) for pick in (min, max))
    assert outcome.steps <= endpoints * (outcome.seconds / fastest + 1)
    # What a station was busy for is what the steps took of it, but for those under way at either end.
    taken = outcome.busy[ENDPOINTS] * endpoints * outcome.seconds
    assert fastest * (outcome.steps - endpoints) - 1e-6 <= taken <= longest * (outcome.steps + endpoints) + 1e-6


@given(SECONDS, st.integers(1, 20), st.floats(0.5, 30))
@settings(max_examples=20, deadline=None)
def test_one_station_alone_is_the_closed_form(seconds: float, endpoints: int, faster: float) -> None:
    outcome = simulate(latencies(sample(seconds)), Place(endpoints=endpoints, faster=faster), STEPS)
    assert math.isclose(outcome.rate, endpoints * faster / seconds, rel_tol=0, abs_tol=endpoints / outcome.seconds)
    assert math.isclose(outcome.busy[ENDPOINTS], 1, abs_tol=1e-6)
    assert outcome.busy[CORES] == outcome.busy[DISK] == outcome.busy[SCHEDULER] == 0


@pytest.mark.parametrize(
    ("step", "station", "places"),
    [(sample(0.1, 5.0), CORES, 3), (sample(0.1, 0, 5.0), CORES, 3), (sample(0.1, store=2.0), DISK, 1)],
)
def test_a_station_that_is_full_passes_its_own_rate(step: Step, station: str, places: int) -> None:
    place = Place(endpoints=50, cores=3)
    outcome = simulate(latencies(step), place, STEPS)
    seconds = demands(latencies(step), place)[station]
    assert outcome.rate == pytest.approx(places / seconds, rel=0.02)
    assert outcome.busy[station] == pytest.approx(1)


def test_a_scheduler_that_is_full_passes_its_own_rate() -> None:
    place = Place(endpoints=50, dispatch=0.5)
    outcome = simulate(latencies(sample(1), sample(1), collect=1.5), place, 2000)
    assert outcome.rate == pytest.approx(2 / (0.5 + 1.5), rel=0.02)


def test_seats_without_any_waiting_pass_what_their_steps_take() -> None:
    outcome = simulate(latencies(sample(2, 1, 0.5, 0.5)), Place(endpoints=4, seats=1), STEPS)
    assert outcome.rate == pytest.approx(1 / 4, rel=0.01)


@given(recordings(), st.integers(1, 8), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_the_rate_keeps_below_the_bounds(recording: Latencies, endpoints: int, cores: int) -> None:
    # Every step takes the mean, so that the bounds, which are of means, hold for any stretch of time.
    needed = demands(recording, Place(endpoints=endpoints, cores=cores))
    even = latencies(sample(needed[ENDPOINTS], needed[CORES], 0, needed[DISK]))
    place = Place(endpoints=endpoints, cores=cores)
    outcome = simulate(even, place, STEPS)
    assert outcome.rate <= min(bounds(even, place).values()) + endpoints / outcome.seconds


@given(recordings(), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_more_endpoints_never_make_it_slower(recording: Latencies, cores: int) -> None:
    needed = demands(recording, Place(endpoints=1))
    step = sample(needed[ENDPOINTS], needed[CORES], 0, needed[DISK])
    even = latencies(step, step, step, collect=3 * needed[SCHEDULER])
    places = [Place(endpoints=count, cores=cores) for count in (1, 2, 3, 4, 8)]
    found = [simulate(even, place, STEPS) for place in places]
    for (place, less), more in zip(zip(places, found, strict=True), found[1:], strict=False):
        edge = place.endpoints / less.seconds + 2 * place.endpoints / more.seconds
        assert more.rate >= less.rate - edge


@pytest.mark.parametrize("station", STATIONS)
def test_ten_times_the_endpoints_pass_no_less_when_a_station_is_full(station: str) -> None:
    taken = {name: 0.2 if name == station else 0.001 for name in STATIONS}
    step = sample(1.0 + taken[ENDPOINTS], taken[CORES], 0, taken[DISK])
    even = latencies(*[step] * 5, collect=5 * taken[SCHEDULER])
    places = [Place(endpoints=count, cores=1) for count in (30, 300)]
    (_, less), (_, more) = outcomes(even, places)
    assert more.rate >= 0.99 * less.rate


def test_the_same_seed_gives_the_same_outcome_and_another_one_another() -> None:
    recording = latencies(*(sample(0.1 * k, 0.05, 0.01, 0.001) for k in range(1, 20)))
    first, again, other = (simulate(recording, Place(endpoints=3), STEPS, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_knee_is_where_it_bends() -> None:
    assert knee([(1, 2.0), (2, 4.0), (4, 7.3), (8, 8.0)]) == 8
    assert knee([(1, 2.0), (2, 3.5), (4, 3.5)]) == 2
    assert knee([(1, 2.0), (1000, 1999.0)]) is None


def test_the_table_says_what_bounds_and_from_where() -> None:
    recording = latencies(sample(9.9, 0.1, 0, 0.001), sample(9.9, 0.1, 0, 0.001))
    text = table(recording, outcomes(recording, [Place(endpoints=n, cores=1) for n in (1, 10, 400)]))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    # Two steps are a prompt.
    assert rows[1][:2] == ["1", "180.0"]
    assert [row[7] for row in rows[1:]] == ["endpoints", "endpoints", "cores"]
    assert rows[3][1] == "18,000.0"
    # 20 s of one endpoint, and 400 x 2 / 10 s of all that wait.
    assert [row[8] for row in rows[1:]] == ["0.3", "0.3", "1.3"]
    assert text.endswith("Below 0.9 of linear from 400 endpoints on.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    runs = tmp_path_factory.mktemp("runs")
    with serving(Deterministic()) as server:
        optimize(chosen(server.url, metric_calls=3, fresh=1), runs, "one", Silent())
    return runs / "one"


def test_a_recording_holds_what_the_run_folder_says(folder: Path, tmp_path: Path) -> None:
    run = recorded(folder)
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    asked = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    programs = [json.loads(line) for line in (folder / "programs.jsonl").read_text().splitlines()]
    assert [step.kind for step in run.steps].count("sample") == len(lines)
    assert [step.kind for step in run.steps].count("reflection") == len(asked)
    assert run.steps[0].kind == "sample"
    told = sum(a["llm_seconds"] for s in lines for a in s["attempts"]) + sum(a["seconds"] for a in asked)
    assert sum(step.model for step in run.steps) == pytest.approx(told, abs=0.001 * len(run.steps))
    last = max(each["at"] for each in (*lines, *asked))
    whole = sum(step.model + step.sandbox + step.rest + step.store for step in run.steps)
    assert whole >= last - 0.001 * len(run.steps)
    ran = sum(p["seconds"] for p in programs if p["at"] <= last)
    assert sum(step.sandbox for step in run.steps) == pytest.approx(ran, abs=0.002 * len(run.steps))
    assert all(step.store > 0 for step in run.steps)
    assert run.collect > 0
    assert [path.name for path in folder.parent.iterdir()] == ["one"], "nothing is left beside it"
    target = tmp_path / "latencies.json"
    assert record([folder], target) == Latencies.model_validate_json(target.read_text())


def test_the_page_has_a_place_for_the_tables() -> None:
    assert "the tables" in replaced(PAGE.read_text(), BEGIN, END, "the tables")


def test_runs_of_other_models_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "other"))
    (copy / "run.json").write_text((copy / "run.json").read_text().replace(MODEL, "another:3b"))
    with pytest.raises(SystemExit, match=f"another:3b and {MODEL}"):
        record([folder, copy], tmp_path / "latencies.json")
    assert not (tmp_path / "latencies.json").exists()


def test_a_run_that_is_not_done_is_no_recording(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "one"))
    stored = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(stored | {"status": "failed", "result": None}))
    with pytest.raises(SystemExit, match="is failed, not done"):
        recorded(copy)
