"""What the environment says to libraries, and what is left of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localgif import offline

URL = "http://127.0.0.1:11434"

#: What people have in their shells, with addresses that belong to nobody.
HOSTILE = {
    "HTTP_PROXY": "http://192.0.2.1:3128",
    "HTTPS_PROXY": "http://192.0.2.1:3128",
    "ALL_PROXY": "socks5://192.0.2.1:1080",
    "http_proxy": "http://192.0.2.1:3128",
    "https_proxy": "http://192.0.2.1:3128",
    "all_proxy": "socks5://192.0.2.1:1080",
    "LANGSMITH_TRACING": "true",
    "LANGSMITH_TRACING_V2": "true",
    "LANGCHAIN_TRACING_V2": "true",
    "LANGCHAIN_TRACING": "true",
    "LANGCHAIN_HANDLER": "langchain",
    "LANGSMITH_API_KEY": "ls-secret",
    "LANGSMITH_ENDPOINT": "http://192.0.2.2:1984",
    "LANGSMITH_GATEWAY": "http://192.0.2.2:1985",
    "LANGSMITH_OTEL_ENABLED": "true",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.2:4318",
    "OPENAI_API_KEY": "sk-secret",
    "OPENAI_BASE_URL": "http://192.0.2.3/v1",
    "USE_LITELLM_PROXY": "True",
    "LITELLM_PROXY_API_BASE": "http://192.0.2.4:4000",
    "LITELLM_MODEL_COST_MAP_URL": "http://192.0.2.4/prices.json",
    "LITELLM_LOCAL_MODEL_COST_MAP": "1",
    "LITELLM_MODE": "DEV",
    "OLLAMA_HOST": "http://192.0.2.5:11434",
    "OLLAMA_API_BASE": "http://192.0.2.5:11434",
    "WANDB_API_KEY": "wandb-secret",
    "WANDB_MODE": "online",
    "HF_HUB_OFFLINE": "0",
    "CUSTOM_TIKTOKEN_CACHE_DIR": "/nowhere",
}

#: Both clients answer, with the guard up and everything that a shell can say against it.
ASK = """
import sys
from localgif import offline
offline.pin_libraries()
offline.guard()
from tests.kit import model
from tests.scripted import Scripted, serving
from localgif.endpoint.clients import Animator, Reflector
with serving(Scripted(animator=["hello\\n"], reflector=["hello\\n"])) as server:
    with Animator(model("animator", server.url), server.url) as animator:
        print(animator.write([("user", "hi")], 1, lambda _: "").text.strip())
    print(Reflector(model("reflector", server.url), server.url).write("hi", 1, lambda _: "", 16).text.strip())
    paths = sorted({path for path, _ in server.history})
from langsmith.utils import tracing_is_enabled
import litellm, os
print(tracing_is_enabled(), paths, offline.refusals(), os.environ.get("FROM_THE_FILE"))
"""


def test_both_clients_answer_in_a_hostile_environment_and_nothing_is_even_tried(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FROM_THE_FILE=1\nLANGSMITH_TRACING=true\nOPENAI_API_KEY=sk-file\n")
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK],
        cwd=tmp_path,
        env={**os.environ, **HOSTILE, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["hello", "hello", "False ['/api/chat', '/api/generate'] () None", ""]


def test_pinning_says_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    offline.pin_environment(URL)
    once = dict(os.environ)
    offline.pin_environment(URL)
    assert dict(os.environ) == once
    assert once["OLLAMA_HOST"] == once["OLLAMA_API_BASE"] == URL
    assert once["LITELLM_LOCAL_MODEL_COST_MAP"] == "True", 'litellm takes no other word for it, "1" neither'
    assert not [name for name in once if name.lower().endswith("_proxy") and name != "USE_LITELLM_PROXY"]
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2"):
        assert once[name] == "false", "any one of them is enough to trace"
    assert "LANGCHAIN_TRACING" not in once and "LANGCHAIN_HANDLER" not in once


def test_proxies_stay_until_the_models_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are fetched through them."""
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:3128")
    offline.pin_libraries()
    assert os.environ["HTTPS_PROXY"] == "http://192.0.2.1:3128"
