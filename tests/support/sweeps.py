"""Sweeps for tests: a watch that records its events, finished runs, and run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localgif.models.toml import ModelsFile
from localgif.records import ModelIdentity, SecondsByPart, TokensByRole
from localgif.run.result import Pairs, compare
from localgif.search.progress import Progress, Silent
from localgif.settings import Settings
from localgif.store.write import RunStore
from localgif.sweep.execute import CellEnd
from localgif.sweep.plan import Cell, Plan, parse_plan
from localgif.sweep.read import Finished
from tests.support import masked
from tests.support.kit import record, run_result, settings
from tests.support.scripted import MODEL

#: Without a reflector, whose libraries take three seconds to load in a process of its own.
TINY = "[settings]\nreflection = 'none'\nmetric_calls = 2\nsamples = 1\nfresh = 1\ntarget = 'none'\ntransfer = false\n"
TINY += "sandbox_level = 'limits-only'\n" if masked.ON else ""
TWO = TINY + "[axes]\nseed = [0, 1]\n"


class Told:
    """Records its events; can press Ctrl-C when a cell begins."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.begun: list[str] = []
        self.ends: list[CellEnd] = []
        self.notes: list[str] = []
        self.stop_at = stop_at

    def begins(self, cell: Cell, number: int, cells: int) -> Progress:
        self.begun.append(cell.name)
        if cell.name == self.stop_at:
            raise KeyboardInterrupt
        return Silent()

    def ended(self, end: CellEnd, number: int, cells: int) -> None:
        self.ends.append(end)

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def statuses(self) -> list[tuple[str, str]]:
        return [(end.cell.name, end.status) for end in self.ends]


def plan_of(text: str, models: ModelsFile) -> Plan:
    return parse_plan(text, "s", "s.toml", models)


def finished(score: float, start: float = 0.1, **facets: Any) -> Finished:
    """A run of one task whose four fresh samples all have this score."""
    name = "-".join(str(value) for value in facets.values())
    return Finished(
        name=name,
        folder=Path(name),
        facets=facets,
        rule="strict-3",
        seed=((start,) * 4,),
        best=((score,) * 4,),
        is_seed=score == start,
        word="better" if score > start else "not shown",
        tokens=1_000,
        minutes=2.0,
        samples=32,
        version="0.1.0",
    )


def runs_of(reflection: str, *scores: float, **facets: Any) -> list[Finished]:
    """A run for each score, with seeds from 0."""
    return [finished(score, reflection=reflection, seed=seed, **facets) for seed, score in enumerate(scores)]


def stored(
    runs_dir: Path, name: str, before: list[float], after: list[float], *, scorer: str = "strict-3", **changes: Any
) -> Path:
    """A finished run folder with these fresh scores of one task. `changes` are settings."""
    made: Settings = settings("http://127.0.0.1:1", **changes)
    identity = ModelIdentity(
        role="animator", alias="scripted", model=MODEL, endpoint="ollama", kind="ollama", server="s", digest="ab" * 32,
        num_ctx=4096, num_predict=1024, temperature=0.2,
    )  # fmt: skip
    models = (identity, identity.model_copy(update={"role": "reflector"}))
    begun = record(name, settings=made, models=models, versions={"localgif": "0.1.0"}, scorer=scorer)
    with RunStore.create(runs_dir, begun) as store:
        other = "article-1" if scorer != "article-1" else "strict-3"
        seed, best = (
            {"scores": tuple(scores), "mean": sum(scores) / len(scores), "also": {other: tuple(s / 2 for s in scores)}}
            for scores in (before, after)
        )
        result = run_result(
            verdict=compare({"t": Pairs(before, after)}).rounded(),
            seed=seed,
            best={**best, "is_seed": before == after},
            run=name,
            folder=str(store.folder),
            metric_calls=12,
            output_tokens=TokensByRole(animator=700, reflector=300),
            seconds=SecondsByPart(total=120.0),
        )
        store.finish("done", result=result)
    return runs_dir / name
