"""What bounds many runs on 1 to 1,000 endpoints: `just simulate-scale record RUN... | table`.

`record` reads finished runs and writes scripts/latencies.json: of each step what the model, the sandbox, the disk and
the rest took. `table` simulates (scale_model.py) and writes the tables of docs/scale.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from localgif.files import content_hash
from localgif.records import RunRecord, Sample
from localgif.store.log import Answer, ProgramRun, read_log
from localgif.store.read import ANSWERS, PROGRAMS, StoredRun, load_record, load_run
from localgif.store.write import RunStore
from scripts.scale_model import (
    STATIONS,
    Latencies,
    Outcome,
    Place,
    RunSteps,
    Step,
    knee,
    simulate,
)
from scripts.sections import NoSection, replaced

ROOT = Path(__file__).parent.parent
LATENCIES = ROOT / "scripts" / "latencies.json"
PAGE = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- tables: just simulate-scale table -->", "<!-- end -->"
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
#: What is looked at: at least so many steps, and so many runs a seat.
STEPS, RUNS_A_SEAT = 4000, 2
#: Seconds of a Dask scheduler for a task, by the front page of its documentation (distributed.dask.org).
DISPATCH = 0.001


# --- record --------------------------------------------------------------------------------------------------------


def recorded(folder: Path) -> RunSteps:
    """The steps of a finished run. Storing is measured now, by storing its samples and answers again on the same disk.

    Raises:
        SystemExit: the run is not finished, or of a version that did not note times.
    """
    run = load_run(folder)
    if run.record.result is None:
        raise SystemExit(f"{folder} is {run.record.status}, not done")
    answers = read_log(folder / ANSWERS, Answer).records
    programs = read_log(folder / PROGRAMS, ProgramRun).records
    made: list[Sample | Answer] = sorted((*run.samples, *answers), key=lambda each: each.at or 0.0)
    if any(each.at is None for each in made):
        raise SystemExit(f"{folder} was made by a version that did not note when samples were stored")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".recording-") as made_here:
        stores = _stored_again(run, made, Path(made_here))
        collect = _collected(folder, Path(made_here) / "copy")
    steps, before = [], 0.0
    for each, store in zip(made, stores, strict=True):
        at = float(each.at or 0.0)
        model = sum(a.llm_seconds for a in each.attempts) if isinstance(each, Sample) else each.seconds
        sandbox = sum(p.seconds for p in programs if before < p.at <= at)
        rest = max(0.0, at - before - model - sandbox - store)
        kind = "sample" if isinstance(each, Sample) else "reflection"
        steps.append(Step(kind, round(model, 3), round(sandbox, 3), round(rest, 3), round(store, 5)))
        before = at
    memory = int(run.record.result["memory"]["localgif"])
    return RunSteps(run=run.record.name, steps=tuple(steps), collect=round(collect, 4), memory=memory)


def _stored_again(run: StoredRun, made: Sequence[Sample | Answer], folder: Path) -> list[float]:
    """Seconds to store each."""
    found = []
    with RunStore.create(folder, run.record) as store:
        for each in made:
            if isinstance(each, Answer):
                began = time.perf_counter()
                store.append_answer(each)
            else:
                code = [run.text("code", name) for name in {a.code for a in each.attempts if a.code}]
                gif = run.data("gifs", each.gif) if each.gif else None
                began = time.perf_counter()
                for text in code:
                    store.put_code(text)
                if gif is not None:
                    store.put_gif(gif)
                store.append_sample(each)
            found.append(time.perf_counter() - began)
    return found


def _collected(folder: Path, target: Path) -> float:
    """Seconds to read a run folder, check the names of its contents and write it elsewhere, forced to the disk."""
    began = time.perf_counter()
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        content_hash(data)
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with copy.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return time.perf_counter() - began


def record(folders: Sequence[Path], target: Path) -> Latencies:
    """Write the latencies of runs with the same models.

    Raises:
        SystemExit: as `recorded`, or they have different ones.
    """
    named = sorted({_models(load_record(folder)) for folder in folders})
    if len(named) > 1:
        raise SystemExit(f"these runs have different models: {' and '.join(named)}")
    runs = tuple(recorded(folder) for folder in folders)
    found = Latencies(model=named[0], runs=runs)
    target.write_text(found.model_dump_json() + "\n")
    return found


def _models(record: RunRecord) -> str:
    names = {model.role: model.model for model in record.models}
    same = names["animator"] == names["reflector"]
    return names["animator"] if same else f"{names['animator']} (reflector {names['reflector']})"


# --- table ---------------------------------------------------------------------------------------------------------


def outcomes(latencies: Latencies, places: Sequence[Place]) -> list[tuple[Place, Outcome]]:
    """Each place, simulated."""
    a_seat = RUNS_A_SEAT * latencies.steps_a_run
    return [(place, simulate(latencies, place, round(max(STEPS, a_seat * place.at_once)))) for place in places]


def bound_by(outcome: Outcome) -> str:
    """The station that is taken most."""
    return max(outcome.busy, key=lambda name: outcome.busy[name])


def table(latencies: Latencies, found: Sequence[tuple[Place, Outcome]]) -> str:
    """Rows of Markdown, one a number of endpoints, and a sentence with the knee."""
    busy = [f"{name} busy" for name in STATIONS]
    columns = ("endpoints", "prompts an hour", "of linear", *busy, "bound by", "endpoint-minutes a prompt")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    alone = found[0][1].rate / found[0][0].endpoints
    for place, outcome in found:
        prompts = 3600 * outcome.rate / latencies.steps_a_run
        minutes = 60 * place.endpoints / prompts
        shares = " | ".join(f"{100 * outcome.busy[name]:.0f} %" for name in STATIONS)
        linear = outcome.rate / place.endpoints / alone
        lines.append(
            f"| {place.endpoints:,} | {prompts:,.1f} | {linear:.2f} | {shares} | {bound_by(outcome)} | {minutes:,.1f} |"
        )
    bent = knee([(place.endpoints, outcome.rate) for place, outcome in found])
    where = f"Below 0.9 of linear from {bent:,} endpoints on." if bent else "Never below 0.9 of linear."
    return "\n".join([*lines, "", where])


def tables(latencies: Latencies) -> str:
    """All of them, with what they are of."""
    runs, steps = len(latencies.runs), sum(len(run.steps) for run in latencies.runs)
    collect = sum(run.collect for run in latencies.runs) / len(latencies.runs)
    memory = max(run.memory for run in latencies.runs) / 1e6
    parts = [
        f"Recorded: {steps} steps of {runs} run{'s' if runs > 1 else ''} with {latencies.model}, "
        f"{latencies.steps_a_run:.0f} a run. Means in seconds: model {latencies.mean('model'):.2f}, sandbox "
        f"{latencies.mean('sandbox'):.3f}, localgif itself {latencies.mean('rest'):.3f}, disk "
        f"{latencies.mean('store'):.4f}; a run's folder is read, checked and written elsewhere in {collect:.2f}. The "
        f"process of a run has up to {memory:,.0f} MB."
    ]
    for title, faster, cores, per_machine in (
        ("One machine of 8 cores makes all runs", 1.0, 8, None),
        ("The same, endpoints 20 times as fast as the recorded one", 20.0, 8, None),
        ("Such a machine for every 8 of these endpoints", 20.0, 8, 8),
    ):
        places = [
            Place(
                endpoints=count,
                machines=-(-count // per_machine) if per_machine else 1,
                cores=cores,
                dispatch=DISPATCH,
                faster=faster,
            )
            for count in COUNTS
        ]
        parts += [f"**{title}**", table(latencies, outcomes(latencies, places))]
    return "\n\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="finished runs -> scripts/latencies.json")
    recording.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder")
    commands.add_parser("table", help="simulate, and write the tables of docs/scale.md")
    arguments = parser.parse_args()
    if arguments.command == "record":
        latencies = record(arguments.runs, LATENCIES)
        print(f"{LATENCIES.relative_to(ROOT)}: {sum(len(run.steps) for run in latencies.runs)} steps")
        return 0
    if not LATENCIES.is_file():
        parser.error(f"there is no {LATENCIES.relative_to(ROOT)}: make it with `just simulate-scale record RUN...`")
    try:
        body = tables(Latencies.model_validate_json(LATENCIES.read_text()))
        PAGE.write_text(replaced(PAGE.read_text(), BEGIN, END, body))
    except NoSection as error:
        parser.error(f"{PAGE.relative_to(ROOT)}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
