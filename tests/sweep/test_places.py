"""[workers] of a sweep file: which server a worker asks, and what cannot be meant."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from localgif.errors import ConfigError
from localgif.models.toml import ModelsFile, load_models_file, moved
from localgif.sweep.places import read_places
from localgif.sweep.plan import Plan, parse_plan
from tests.kit import settings

ROOT = Path(__file__).parents[2]
MODELS = """
[roles]
animator = "a"
reflector = "b"
[endpoints.ollama]
kind = "ollama"
url = "http://127.0.0.1:11434"
[endpoints.vllm]
kind = "openai"
url = "http://127.0.0.1:8001/v1"
allow_remote = true
[endpoints.embedded]
kind = "embedded"
[models.a]
endpoint = "ollama"
model = "a:1b"
[models.b]
endpoint = "vllm"
model = "b"
[models.c]
endpoint = "embedded"
model = "smollm2:135m"
"""


@pytest.fixture
def models(tmp_path: Path) -> ModelsFile:
    (tmp_path / "models.toml").write_text(MODELS)
    return load_models_file(tmp_path / "models.toml")


def plan_of(workers: str, models: ModelsFile) -> Plan:
    return parse_plan(f"[axes]\nseed = [0]\nanimator = ['a', 'c']\n{workers}", "s", "s.toml", models)


def test_a_worker_asks_other_servers_and_the_settings_stay(models: ModelsFile) -> None:
    plan = plan_of('[workers.box2]\nollama = "http://localhost:1/"\nvllm = "http://gpu-box:8000"', models)
    assert plan.workers == {"box2": {"ollama": "http://localhost:1", "vllm": "http://gpu-box:8000/v1"}}
    before = plan.cells[0].settings
    there = moved(before, plan.workers["box2"])
    assert there.animator.endpoint.url == "http://localhost:1"
    assert there.reflector.endpoint.url == "http://gpu-box:8000/v1"
    assert before.reflector.endpoint.url == "http://127.0.0.1:8001/v1"
    assert there.model_copy(update={"animator": before.animator, "reflector": before.reflector}) == before
    assert plan_of("", models).workers == {}
    assert moved(settings("http://127.0.0.1:1"), {}) == settings("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("workers", "message", "remedy"),
    [
        ("[workers]\nbox = 3", "workers.box = 3 is no table", "[workers.NAME]"),
        ("[[workers]]\nbox = 3", 'workers = [{"box": 3}] is no table', "[workers.NAME]"),
        ("[workers.box]\nolama = 'http://127.0.0.1:1'", "workers.box.olama: no cell uses", 'did you mean "ollama"?'),
        ("[workers.box]\nembedded = 'http://127.0.0.1:1'", "workers.box.embedded: the endpoint is embedded", "remove"),
        (
            "[workers.box]\nollama = 11434",
            "workers.box.ollama = 11434 must be an address in quotes",
            "correct the address",
        ),
        ("[workers.box]\nollama = 'box:1'", 'workers.box.ollama = "box:1" must be a URL', "correct the address"),
        ("[workers.box]\nollama = 'http://[::1'", "must be a URL", "correct the address"),
        ("[workers.box]\nollama = 'http://127.0.0.1:1/v1'", "must have no path", "correct the address"),
        ("[workers.box]\nollama = 'http://10.0.0.1:1'", "not on the worker's own machine", "allow_remote = true"),
    ],
)
def test_what_cannot_be_meant_is_told(workers: str, message: str, remedy: str, models: ModelsFile) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        plan_of(workers, models)
    assert caught.value.message.startswith("s.toml: ")
    assert remedy in caught.value.remedy


def test_the_tables_of_the_docs_can_be_read(models: ModelsFile) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "scale.md").read_text(), re.DOTALL)
    ollama = models.endpoints("ollama")[0].model_copy(update={"allow_remote": True})
    assert set(read_places(tomllib.loads(text)["workers"], {"ollama": ollama}, "s.toml")) == {"box2", "front"}
