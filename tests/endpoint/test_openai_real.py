"""The gateway in front of llama.cpp's own OpenAI server, which it did not start: real weights, unmodified clients."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from localgif.endpoint.child import RunningEndpoint, embedded_endpoint
from localgif.endpoint.clients import Animator, Reflector, reflector_arguments
from localgif.endpoint.discover import find_model, find_models
from localgif.errors import EndpointError, EndpointUnreachable, ModelMissing, PreflightError
from localgif.models.find import Weights
from localgif.records import RemoteModel, ServeConfig
from tests.conftest import WEIGHTS
from tests.endpoint.llama_server import KEY, NAME, WINDOW, LlamaServer, llama_server
from tests.kit import model

HI = [{"role": "user", "content": "Name three colours."}]
GREEDY = {"temperature": 0, "seed": 1, "num_predict": 12}


@pytest.fixture(scope="module")
def server(smollm2: Weights) -> Iterator[LlamaServer]:
    with llama_server(smollm2.path) as running:
        yield running


@pytest.fixture(scope="module")
def found(server: LlamaServer) -> RemoteModel:
    return find_model(server.url, KEY, NAME, 512, "[models.x]")


@pytest.fixture(scope="module")
def front(found: RemoteModel) -> Iterator[RunningEndpoint]:
    with embedded_endpoint(ServeConfig(remotes=(found,))) as running:
        yield running


@pytest.fixture
def client(front: RunningEndpoint) -> Iterator[ollama.Client]:
    with ollama.Client(front.url, trust_env=False) as client:
        yield client


def never(_: str) -> str:
    return ""


def settings(role: Any, front: RunningEndpoint, **changes: Any) -> Any:
    values = {"model": NAME, "litellm": f"ollama/{NAME}", "num_ctx": WINDOW, "num_predict": 24}
    return model(role, front.url, **{**values, **changes})


# --- what is found ---------------------------------------------------------------------------------------------------


def test_the_server_says_what_it_has(found: RemoteModel) -> None:
    assert (found.name, found.dialect, found.window, found.context_length) == (NAME, "llama.cpp", WINDOW, 8192)
    assert found.server.startswith("llama.cpp") and found.parameters == 134515008 and found.quantisation == "Q4_1"
    assert found.template is not None and "im_start" in found.template and found.size > 90e6


def test_a_key_that_is_missing_or_wrong_is_named_before_anything_starts(server: LlamaServer) -> None:
    with pytest.raises(EndpointUnreachable, match="wants an API key") as caught:
        find_models(server.url)
    assert "api_key_env" in caught.value.remedy
    with pytest.raises(EndpointUnreachable, match="refuses the key") as caught:
        find_models(server.url, "not this one")
    assert "not this one" not in str(caught.value)


def test_another_name_and_a_larger_window_are_refused(server: LlamaServer) -> None:
    with pytest.raises(ModelMissing, match=rf"no model 'smollm:135m'; it has {NAME}"):
        find_model(server.url, KEY, "smollm:135m", 512, "[models.x]")
    with pytest.raises(PreflightError, match="window of 512 tokens, but num_ctx is 513") as caught:
        find_model(server.url, KEY, NAME, 513, "[models.x]")
    assert "num_ctx = 512 into [models.x]" in caught.value.remedy and caught.value.exit_code == 3


# --- unmodified clients ----------------------------------------------------------------------------------------------


def test_the_listings_show_the_server_behind(client: ollama.Client, server: LlamaServer) -> None:
    (entry,) = client.list().models
    assert entry.model == NAME and entry.details is not None and entry.details.quantization_level == "Q4_1"
    assert not entry.digest, "nobody knows the digest of weights on another server"
    shown = client.show(NAME)
    assert shown.modelinfo is not None and shown.modelinfo["unknown.context_length"] == 8192
    assert shown.modelfile is not None and server.url in shown.modelfile
    (loaded,) = client.ps().models
    assert loaded.context_length == WINDOW


def test_streamed_and_whole_answers_are_the_same_text(client: ollama.Client) -> None:
    client.chat(NAME, HI, options={"num_predict": 0})
    whole = client.chat(NAME, HI, options=GREEDY)
    pieces = list(client.chat(NAME, HI, options=GREEDY, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content != ""
    assert (whole.done_reason, whole.eval_count, pieces[-1].prompt_eval_count) == (
        "length",
        12,
        whole.prompt_eval_count,
    )


def test_both_roles_get_their_answers(front: RunningEndpoint) -> None:
    with Animator(settings("animator", front), front.url) as animator:
        reply = animator.write([("system", "You are brief."), ("user", "Count to fifty in words.")], 1, never)
    assert (reply.done_reason, reply.output_tokens) == ("length", 24) and (reply.prompt_tokens or 0) > 10
    for provider in ("ollama", "ollama_chat"):
        chosen = settings("reflector", front, litellm=f"{provider}/{NAME}")
        reply = Reflector(chosen, front.url).write("Name one colour.", 1, never, 16)
        assert reply.text and 0 < reply.output_tokens <= 16
        from gepa.lm import LM

        assert LM(**reflector_arguments(chosen, front.url))("Name one colour.")


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_that_does_not_fit_is_refused_with_its_size(client: ollama.Client, stream: Any) -> None:
    with pytest.raises(ollama.ResponseError, match=r"request \(20\d\d tokens\) exceeds .* \(512 tokens\)") as caught:
        list(client.chat(NAME, [{"role": "user", "content": "word " * 2000}], stream=stream))
    assert caught.value.status_code == 400


def test_both_roles_say_that_num_ctx_is_too_small(front: RunningEndpoint) -> None:
    with (
        Animator(settings("animator", front), front.url) as animator,
        pytest.raises(EndpointError, match="does not fit into the window") as caught,
    ):
        animator.write([("user", "word " * 2000)], 1, never)
    assert "num_ctx" in caught.value.remedy
    with pytest.raises(EndpointError, match="does not fit into the window"):
        Reflector(settings("reflector", front), front.url).write("word " * 2000, 1, never, 24)


def test_an_answer_ends_with_the_window_though_the_server_would_shift_it(client: ollama.Client) -> None:
    filler = [{"role": "user", "content": "colour " * 440 + "Tell a long story."}]
    # A small model may come to an end by itself: then it is asked again.
    for seed in range(5):
        said = client.chat(NAME, filler, options={"seed": seed, "temperature": 1.5})
        assert (said.prompt_eval_count or 0) + (said.eval_count or 0) <= WINDOW
        if said.done_reason == "length":
            break
    else:
        pytest.fail("no answer reached the end of the window")


def test_the_servers_end_is_told_and_its_return_is_noticed(smollm2: Weights) -> None:
    with llama_server(smollm2.path) as server:
        found = find_model(server.url, KEY, NAME, 512, "[models.x]")
        with (
            embedded_endpoint(ServeConfig(remotes=(found,))) as front,
            httpx.Client(base_url=front.url, trust_env=False, timeout=60) as http,
        ):
            body = {"model": NAME, "messages": HI, "options": {"num_predict": 400}}
            with http.stream("POST", "/api/chat", json=body) as response:
                lines = response.iter_lines()
                assert '"done":false' in next(lines)
                os.kill(server.pid, signal.SIGKILL)
                rest = list(lines)
            assert rest[-1].startswith('{"error":') and not any('"done":true' in line for line in rest)
            after = http.post("/api/chat", json=body)
            assert after.status_code == 502 and "upstream server failed" in after.json()["error"]
            assert front.alive()


# --- the commands ----------------------------------------------------------------------------------------------------

MODELS = """
[roles]
animator  = "tiny"
reflector = "tiny"
[endpoints.mine]
kind        = "openai"
url         = "{url}"
api_key_env = "MY_SERVERS_KEY"
[models.tiny]
endpoint    = "mine"
model       = "smollm2:135m"
num_ctx     = 512
num_predict = 96
"""


def run(folder: Path, *arguments: str, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
    given = {"MY_SERVERS_KEY": key} if key is not None else {}
    environment = {**os.environ, "TMPDIR": str(folder), "LOCALGIF_HOME": str(WEIGHTS.cache.parent), **given}
    command = [sys.executable, "-m", "localgif", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def folder(tmp_path: Path, server: LlamaServer) -> Path:
    (tmp_path / "models.toml").write_text(MODELS.format(url=server.url))
    return tmp_path


def test_a_whole_run_on_another_server(folder: Path, smollm2: Weights) -> None:
    # Plain reflection takes whatever a reflector of 135 million parameters says: the run ends by its budget.
    budget = ("--reflection", "plain", "--metric-calls", "2", "--samples", "1", "--fresh", "1")
    with llama_server(smollm2.path, window=4096) as larger:
        text = MODELS.format(url=larger.url).replace("= 512", "= 4096").replace("= 96", "= 32")
        (folder / "models.toml").write_text(text)
        done = run(folder, "optimize", *budget, "--json", "--name", "there")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["animator"]["kind"] == "openai" and result["animator"]["server"].startswith("llama.cpp")
    assert result["animator"]["digest"] is None and result["memory"]["endpoint"] is None
    assert result["output_tokens"]["animator"] > 0 and result["output_tokens"]["reflector"] > 0
    assert not any(KEY in path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_checks_say_where_and_how_large(folder: Path, server: LlamaServer) -> None:
    checked = run(folder, "models", "check")
    assert checked.returncode == 0 and f"{server.url} answers (llama.cpp" in checked.stdout
    assert "window 512" in checked.stdout
    missing = run(folder, "optimize", key=None)
    assert missing.returncode == 2 and "MY_SERVERS_KEY, which is not set" in missing.stderr
    assert not (folder / "runs").exists()


def test_serve_offers_the_other_servers_model_until_it_is_stopped(folder: Path, server: LlamaServer) -> None:
    refused = run(folder, "serve", "--upstream", server.url)
    assert refused.returncode == 3 and "wants an API key" in refused.stderr
    environment = {**os.environ, "MY_SERVERS_KEY": KEY}
    command = [sys.executable, "-m", "localgif", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        greeting = [process.stdout.readline() for _ in range(3)]
        assert NAME in greeting[1] and server.url in greeting[1] and "context 512" in greeting[1]
        with ollama.Client(greeting[0].split()[-1], trust_env=False) as client:
            assert client.chat(NAME, HI, options=GREEDY).message.content
        process.terminate()
        assert process.wait(10) == 0
        assert select.select([process.stdout], [], [], 0)[0], "its end is closed"
