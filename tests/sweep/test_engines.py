"""Workers of a cluster with real models: an embedded engine that a worker starts, and an OpenAI server next to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localgif.models.find import Weights
from localgif.models.toml import load_models_file
from localgif.store.read import RunRecord, load_record, load_run
from localgif.sweep.conduct import run_on_cluster
from localgif.sweep.plan import parse_plan
from tests.conftest import WEIGHTS
from tests.kit import tiny_models
from tests.support import llama_server
from tests.sweep import cluster_kit as kit
from tests.sweep.test_execute import Told

CELLS = "[axes]\nseed = [0, 1]\n"
#: Short answers: a model of that size writes no program worth having, however long.
ANSWER = 32
OPENAI = f"""
[roles]
animator  = "tiny"
reflector = "tiny"
[endpoints.box]
kind = "openai"
url = "http://127.0.0.1:9/v1"
api_key_env = "BOX_KEY"
[models.tiny]
endpoint    = "box"
model       = "{llama_server.NAME}"
num_ctx     = 4096
num_predict = {ANSWER}
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with kit.scheduler(tmp_path) as address:
        yield address


def swept(folder: Path, address: str, models: str, environment: dict[str, str], places: str = "") -> list[RunRecord]:
    """The runs of a sweep over two seeds on the one worker of a cluster, which is started for it; all were done."""
    (folder / "models.toml").write_text(models)
    known, told = load_models_file(folder / "models.toml"), Told()
    plan = parse_plan(kit.TINY + CELLS + places, "s", "s.toml", known)
    with pytest.MonkeyPatch.context() as patch:  # the worker has it, the command has not
        for name, value in environment.items():
            patch.setenv(name, value)
        worker = kit.worker(folder, address, "box1")
    with kit.process(worker):
        summary: dict[str, Any] = run_on_cluster(plan, known, folder / "runs", plan.cells, told, address, 4)
    assert (summary["done"], summary["failed"], summary["left"]) == (2, 0, 0), [end.error for end in told.ends]
    assert [end.where for end in told.ends] == ["box1", "box1"]
    homes = [folder / "runs" / "s" / cell.name for cell in plan.cells]
    for home in homes:
        answers = [attempt for sample in load_run(home).samples for attempt in sample.attempts]
        assert answers and all(answer.output_tokens > 0 for answer in answers), "a model answered, and that came home"
    return [load_record(home) for home in homes]


def test_each_worker_has_an_embedded_engine_of_its_own(tmp_path: Path, address: str, smollm2: Weights) -> None:
    for record in swept(tmp_path, address, tiny_models(ANSWER), {"LOCALGIF_HOME": str(WEIGHTS.cache.parent)}):
        assert record.result is not None
        assert record.result.animator.digest == smollm2.digest
        assert (record.result.memory.endpoint or 0) > 100e6, "the weights were in a process of the worker's"


def test_a_worker_asks_the_openai_server_of_its_own_with_a_key_that_only_it_has(
    tmp_path: Path, address: str, smollm2: Weights
) -> None:
    with llama_server.llama_server(smollm2.path, window=4096) as server:
        places = f'\n[workers.box1]\nbox = "{server.url}"\n'
        records = swept(tmp_path, address, OPENAI, {"BOX_KEY": llama_server.KEY}, places)
    for record in records:
        assert [(model.endpoint, model.model) for model in record.models] == [("box", llama_server.NAME)] * 2
    stored = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert stored and not any(llama_server.KEY in path.read_text(errors="replace") for path in stored)
