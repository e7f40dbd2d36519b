"""Unmodified clients over real HTTP against the embedded engine with a real model."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from langchain_ollama import ChatOllama

from localgif.endpoint.child import RunningEndpoint, embedded_endpoint
from localgif.endpoint.clients import reflector_arguments
from localgif.endpoint.discover import find_model
from localgif.models.find import Weights
from localgif.records import ServeConfig, ServedModel
from tests.endpoint.gateway_kit import GREEDY, HI
from tests.endpoint.llama_server import KEY, NAME, llama_server
from tests.kit import model


def test_the_listings_field_by_field(http: httpx.Client, client: ollama.Client, served: ServedModel) -> None:
    client.generate(served.name)
    (entry,) = http.get("/api/tags").json()["models"]
    assert entry["name"] == entry["model"] == served.name and type(entry["size"]) is int
    assert re.fullmatch(r"[0-9a-f]{64}", entry["digest"]) and entry["details"]["format"] == "gguf"
    assert datetime.fromisoformat(entry["modified_at"]).tzinfo is not None
    (loaded,) = http.get("/api/ps").json()["models"]
    assert (loaded["context_length"], loaded["size_vram"]) == (served.num_ctx, 0)
    assert datetime.fromisoformat(loaded["expires_at"]).tzinfo is not None


def test_chat_ollama_validates_the_model(endpoint: RunningEndpoint, served: ServedModel) -> None:
    with httpx.HTTPTransport() as transport:
        ours: dict[str, Any] = {
            "base_url": endpoint.url,
            "client_kwargs": {"trust_env": False},
            "sync_client_kwargs": {"transport": transport},
            "validate_model_on_init": True,
        }
        ChatOllama(model=served.name, **ours)
        with pytest.raises(ValueError, match="not found"):
            ChatOllama(model="smollm3:135m", **ours)


def test_show_by_model_and_by_name(http: httpx.Client, served: ServedModel) -> None:
    by_model = http.post("/api/show", json={"model": served.name}).json()
    assert by_model == http.post("/api/show", json={"name": served.name}).json()
    lengths = [value for name, value in by_model["model_info"].items() if "context_length" in name]
    assert lengths == [8192] and by_model.keys() >= {"template", "details", "capabilities"}


def test_litellm_and_gepa_see_a_cut_answer(
    endpoint: RunningEndpoint, served: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = model(
        "reflector", endpoint.url, model=served.name, litellm=f"ollama_chat/{served.name}", num_ctx=512, num_predict=8
    )
    arguments = reflector_arguments(chosen, endpoint.url)
    # Now: what keeps litellm from asking for a price list is set by the line above.
    import litellm
    from gepa.lm import LM

    reply: Any = litellm.completion(messages=[{"role": "user", "content": "Count to fifty in words."}], **arguments)
    assert (reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("length", 8)
    with caplog.at_level(logging.WARNING):
        assert LM(**arguments)("Count to fifty in words.")
    assert "truncated" in caplog.text


def test_json_mode_gives_json(client: ollama.Client, served: ServedModel) -> None:
    asked = [{"role": "user", "content": 'Answer with the JSON object {"colour": "red"} and nothing else.'}]

    def chat(options: dict[str, Any]) -> tuple[str | None, str | None]:
        said = client.chat(served.name, asked, format="json", options=options)
        return said.done_reason, said.message.content

    def generate(options: dict[str, Any]) -> tuple[str | None, str | None]:
        said = client.generate(served.name, asked[0]["content"], format="json", options=options)
        return said.done_reason, said.response

    for ask in (chat, generate):
        for seed in range(8):  # some go on for ever: what is cut is no JSON, and is said to be cut
            reason, text = ask({"temperature": 0.3, "seed": seed, "num_predict": 80})
            if reason == "stop":
                assert isinstance(json.loads(text or ""), dict)
                break
        else:
            pytest.fail("no answer came to its end")


def test_a_real_engine_keeps_thoughts_apart(smollm2: Weights) -> None:
    """SmolLM2 under the template of a thinking model: what it writes after the opened tag is thinking, not content."""
    with llama_server(smollm2.path, thinks=True) as server:
        found = find_model(server.url, KEY, NAME, 512, "[models.x]")
        with (
            embedded_endpoint(ServeConfig(remotes=(found,))) as front,
            ollama.Client(front.url, trust_env=False) as client,
        ):
            assert "thinking" in (client.show(NAME).capabilities or [])
            thought = client.chat(NAME, HI, think=True, options=GREEDY)
            pieces = list(client.chat(NAME, HI, think=True, options=GREEDY, stream=True))
            said = client.chat(NAME, HI, think=False, options=GREEDY)
            effort = client.chat(NAME, HI, think="low", options=GREEDY)
    assert thought.message.thinking and not thought.message.content and thought.done_reason == "length"
    assert "".join(piece.message.thinking or "" for piece in pieces) == thought.message.thinking
    assert effort.message.thinking
    assert said.message.content and not said.message.thinking and "<think>" not in said.message.content


def test_a_generation_that_reaches_the_windows_end(client: ollama.Client, served: ServedModel) -> None:
    filler = [{"role": "user", "content": "colour " * 440 + "Tell a long story."}]
    # Hot, and again when it has come to an end by itself, as a small model may.
    for seed in range(5):
        said = client.chat(served.name, filler, options={"seed": seed, "temperature": 1.5})
        assert (said.prompt_eval_count or 0) + (said.eval_count or 0) <= served.num_ctx
        if said.done_reason == "length":
            break
    else:
        pytest.fail("no answer reached the end of the window")


# --- nothing but this machine ----------------------------------------------------------------------------------------

#: Loaded by every Python that starts with its folder on the path, before anything else: gateway and engine too.
WATCH = """
import os, socket, sys
def _watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(os.environ["WATCH_LOG"], "a") as log:
            log.write(f"{os.getpid()} {event} {arguments[-1] if event == 'socket.connect' else arguments[0]}\\n")
sys.addaudithook(_watch)
"""

BOTH_ROLES = """
import sys
from localgif.endpoint.clients import Animator, Reflector, reflector_arguments
from localgif.endpoint.child import embedded_endpoint
from localgif.records import ServeConfig
from tests.kit import model
config = ServeConfig.model_validate_json(sys.argv[1])
name = config.models[0].name
with embedded_endpoint(config) as endpoint:
    def settings(role, **more):
        return model(role, endpoint.url, model=name, num_ctx=512, num_predict=4, **more)
    with Animator(settings("animator"), endpoint.url) as animator:
        assert animator.write([("user", "hi")], 1, lambda _: "").text
    for provider in ("ollama", "ollama_chat"):
        chosen = settings("reflector", litellm=f"{provider}/{name}")
        assert Reflector(chosen, endpoint.url).write("hi", 1, lambda _: "", 4).text
        from gepa.lm import LM
        lm = LM(**reflector_arguments(chosen, endpoint.url))
        assert lm("hi") and lm.batch_complete([[{"role": "user", "content": "hi"}]] * 2)
"""


def test_both_roles_connect_to_this_machine_only(served: ServedModel, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    log = tmp_path / "connects.txt"
    config = ServeConfig(models=(served,), threads=1)
    dead = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    root = str(Path(__file__).parent.parent.parent)
    environment = {**os.environ, **dead, "WATCH_LOG": str(log), "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    command = [sys.executable, "-c", BOTH_ROLES, config.model_dump_json()]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    seen = [line.split(" ", 2) for line in log.read_text().splitlines()]
    assert len({pid for pid, _, _ in seen}) >= 3, "client, gateway and engine were watched"
    elsewhere = [entry for entry in seen if "127.0.0.1" not in entry[2] or ", 9)" in entry[2]]
    assert not elsewhere
    assert sum(event == "socket.connect" for _, event, _ in seen) >= 6
