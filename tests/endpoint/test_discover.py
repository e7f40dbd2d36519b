"""Which server is at an address, what is read from its listings, and whether its model sees the system message."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from localgif.endpoint import discover
from localgif.endpoint.clients import Animator, reflector_arguments
from localgif.endpoint.discover import (
    allocated_window,
    check_abilities,
    check_ollama,
    check_system,
    find_model,
    find_models,
    licence_of,
    list_models,
    listed_weights,
    with_system_at,
)
from localgif.errors import EndpointError, EndpointUnreachable, ModelMissing, PreflightError
from localgif.records import RemoteModel
from localgif.run.optimize import optimize
from localgif.run.roles import check_role
from tests.support.gateway_kit import Status, in_thread, never, serving_app
from tests.support.kit import Notes, model, settings
from tests.support.llama_server import KEY, NAME, WINDOW, LlamaServer
from tests.support.scripted import DIGEST, MODEL, Scripted, serving

# --- Ollama ----------------------------------------------------------------------------------------------------------


def test_the_servers_words_are_kept() -> None:
    for said in (None, (), ("completion", "vision")):
        with serving(Scripted(capabilities=said, shown={"license": "\n  MIT\nmore"})) as server:
            found = check_ollama(server.url, MODEL)
            assert (found.capabilities, found.context_length, found.digest) == (said, 4096, DIGEST)
            assert [tag.digest for tag in list_models(server.url)] == [DIGEST] == [listed_weights(server.url, MODEL)]
            assert licence_of(server.url, MODEL) == "MIT"
            assert listed_weights(server.url, "other:1b") is None
    assert listed_weights("http://127.0.0.1:9", MODEL) is None


def test_an_ability_is_confirmed_noted_or_refused() -> None:
    with serving(Scripted(capabilities=["completion", "vision"])) as server:
        found = check_ollama(server.url, MODEL)
        assert check_abilities(server.url, found, ("vision",)) == ""
        with pytest.raises(PreflightError) as caught:
            check_abilities(server.url, found, ("vision", "think"))
        assert "cannot think" in caught.value.message and "completion, vision" in caught.value.message
        assert "think = true" in caught.value.remedy and caught.value.code == "E-MODEL-THINK"
    with serving(Scripted(capabilities=None)) as server:
        assert "does not say whether" in check_abilities(server.url, check_ollama(server.url, MODEL), ("vision",))


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "kimi-k2:cloud", "Kimi-K2:CLOUD"])
def test_a_name_of_ollamas_cloud_is_refused_before_anything_is_asked(name: str) -> None:
    with pytest.raises(PreflightError) as caught:
        check_ollama("http://127.0.0.1:9", name)
    assert name in caught.value.message and "the cloud" in caught.value.message
    assert "OLLAMA_NO_CLOUD=1" in caught.value.remedy and "offline = false" in caught.value.remedy
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "said", [{"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"}, {"remote_model": "kimi-k2"}]
)
def test_a_local_name_that_stands_for_a_model_elsewhere_is_refused(said: dict[str, str]) -> None:
    with serving(Scripted(shown=said)) as server:
        with pytest.raises(PreflightError) as caught:
            check_ollama(server.url, MODEL)
        assert check_ollama(server.url, MODEL, cloud=True).model == MODEL
    assert MODEL in caught.value.message and said.get("remote_host", "the cloud") in caught.value.message


@pytest.mark.parametrize("name", ["cloudy:7b", "cloud:latest", "my-cloud:3b", "stratus:cloudless"])
def test_a_model_that_is_only_named_after_clouds_is_not_refused_for_it(name: str) -> None:
    with serving(Scripted()) as server, pytest.raises(ModelMissing, match="has no model"):
        check_ollama(server.url, name)


def test_an_address_without_such_a_server() -> None:
    with socket.socket() as taken:  # bound but not listening: the port stays taken, and no server answers
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EndpointUnreachable, match=url) as caught:
            check_ollama(url, "m")
    assert "ollama serve" in caught.value.remedy
    for wrong in ("nonsense", "localhost:1", "ftp://127.0.0.1", "http://[::1"):
        with pytest.raises(EndpointUnreachable):
            check_ollama(wrong, "m")
    no_ollama = pytest.raises(EndpointUnreachable, match="does not speak the Ollama API: /api/version answers 404")
    with in_thread(lambda: serving_app(Listing().app())) as root, no_ollama:
        check_ollama(root, "m")


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_server_that_shows_no_model_is_taken_by_its_listing(status: int) -> None:
    """Other servers than Ollama speak its API without /api/show; what lies in the cloud is seen in the listing, too."""
    tags = {"models": [{"model": "m:latest", "digest": "sha256:abc"}, {"model": "far", "remote_host": "https://x"}]}
    said = Listing(**{"api/version": {"version": "1"}, "api/tags": tags})
    said.posts = Status(status, '{"error": "we show nothing"}')
    with in_thread(lambda: serving_app(said.app())) as root:
        found = check_ollama(root, "m")
        assert (found.model, found.digest, found.capabilities) == ("m:latest", "abc", None)
        with pytest.raises(PreflightError, match=r"far at .* does not run there"):
            check_ollama(root, "far")
        said.posts = Status(500, '{"error": "out of disk"}')
        with pytest.raises(EndpointUnreachable, match=r"/api/show answers 500 .*: out of disk"):
            check_ollama(root, "m")


def test_what_a_server_says_of_itself_is_short_or_cut() -> None:
    long = "x" * 100_000
    tags = {"models": [{"model": "m", "remote_host": long}, {"model": long}]}
    shown = {"capabilities": [long] * 60}
    said = Listing(**{"api/version": {"version": long}, "api/tags": tags})
    said.posts = Status(200, json.dumps(shown))
    with in_thread(lambda: serving_app(said.app())) as root:
        assert [tag.name for tag in list_models(root)] == ["m"]
        with pytest.raises(PreflightError) as caught:
            check_ollama(root, "m")
        assert len(caught.value.message) < 1000
        found = check_ollama(root, "m", cloud=True)
        assert len(found.version) < 1000 and len(str(found.capabilities)) < 50_000
        with pytest.raises(ModelMissing) as missing:
            check_ollama(root, "other")
        assert len(missing.value.message) < 1000
    models = {"data": [{"id": long}, {"id": "m", "owned_by": "llamacpp", "meta": {"ftype": long}}]}
    with in_thread(lambda: serving_app(Listing(models=models, props={"build_info": long}).app())) as root:
        (model,) = find_models(f"{root}/v1")
        assert len(f"{model}") < 2000


def test_the_window_of_a_loaded_model() -> None:
    loaded = {"models": [{"name": "m:latest", "context_length": 512}, {"model": "other"}, 3]}
    with in_thread(lambda: serving_app(Listing(**{"api/ps": loaded}).app())) as root:
        assert allocated_window(root, "M") == 512
        assert allocated_window(root, "other") is None and allocated_window(root, "third") is None


# --- OpenAI-compatible servers ---------------------------------------------------------------------------------------


class Listing:
    """A server that answers GETs by a script, and every POST with `posts`."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {f"/{path}": value for path, value in answers.items()}
        self.posts = Status(404, "")

    def app(self) -> web.Application:
        async def said(request: web.Request) -> web.Response:
            value = self.answers.get(request.path.replace("/v1/", "/"))
            if isinstance(value, list) and value and isinstance(value[0], Status):
                value = value.pop(0) if len(value) > 1 else value[0]
            if isinstance(value, Status):
                return web.Response(status=value.code, text=value.body)
            return web.json_response(value, status=404 if value is None else 200)

        async def posted(request: web.Request) -> web.Response:
            return web.Response(status=self.posts.code, text=self.posts.body)

        app = web.Application()
        app.router.add_get("/{path:.*}", said)
        app.router.add_post("/{path:.*}", posted)
        return app


def listed(**entry: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "some/Model-1B", "object": "model", **entry}]}


def test_a_server_that_tells_nothing_but_names() -> None:
    with in_thread(lambda: serving_app(Listing(models=listed()).app())) as root:
        (found,) = find_models(f"{root}/v1")
        assert (found.name, found.dialect, found.window, found.template) == ("some/Model-1B", "other", 0, None)
        assert find_model(f"{root}/v1", "", "SOME/model-1b", 2048, "[models.x]").window == 2048


def test_an_older_llama_cpp_tells_its_window_elsewhere() -> None:
    props = {"default_generation_settings": {"n_ctx": 1536}, "chat_template": "<think>", "build_info": "b4000-abc"}
    said = Listing(models=listed(owned_by="llamacpp", meta={"n_ctx_train": 8192}), props=props)
    with in_thread(lambda: serving_app(said.app())) as root:
        (found,) = find_models(f"{root}/v1")
    assert (found.dialect, found.window, found.context_length) == ("llama.cpp", 1536, 8192)
    assert (found.server, found.template) == ("llama.cpp b4000-abc", "<think>")


def test_a_server_that_is_loading_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "POLL_SECONDS", 0.01)
    loading = Status(503, '{"error": {"message": "Loading model"}}')
    ready = Status(200, json.dumps(listed(max_model_len=77)))
    said = Listing(models=[loading, loading, ready], version={"version": "9.9"})
    with in_thread(lambda: serving_app(said.app())) as root:
        (found,) = find_models(f"{root}/v1")
        assert (found.dialect, found.window, found.server) == ("vllm", 77, "vLLM 9.9")
        said.answers["/models"] = loading
        monkeypatch.setattr(discover, "LOAD_SECONDS", 0.05)
        with pytest.raises(EndpointUnreachable, match="503"):
            find_models(f"{root}/v1")


@pytest.mark.parametrize(
    "models", [None, [], {"data": "x"}, {"models": []}, Status(200, "<html>"), Status(500, "x"), Status(200, "")]
)
def test_what_is_not_such_a_server_is_named(models: Any) -> None:
    with in_thread(lambda: serving_app(Listing(models=models).app())) as root:
        with pytest.raises(EndpointUnreachable, match="not an OpenAI-compatible server") as caught:
            find_models(f"{root}/v1")
        assert root in caught.value.message
    with pytest.raises(EndpointUnreachable, match=r"no answer from http://127\.0\.0\.1:9/v1"):
        find_models("http://127.0.0.1:9/v1")


ENTRIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "meta", "n_ctx", "max_model_len", "owned_by", "x"]), inner)
    ),
    max_leaves=8,
)


@effort(max_examples=10)
@given(st.lists(ENTRIES, max_size=20))
def test_any_entry_of_a_listing_is_read_or_left_out(entries: list[Any]) -> None:
    with in_thread(lambda: serving_app(Listing(models={"data": entries}).app())) as root:
        found = find_models(f"{root}/v1")
    names = [entry.get("id") for entry in entries if isinstance(entry, dict)]
    assert [one.name for one in found] == [name for name in names if isinstance(name, str) and name]
    assert all(one.window >= 0 for one in found)


def test_a_real_llama_cpp_server_says_what_it_has(found: RemoteModel) -> None:
    assert (found.name, found.dialect, found.window, found.context_length) == (NAME, "llama.cpp", WINDOW, 8192)
    assert found.server.startswith("llama.cpp") and found.parameters == 134515008 and found.quantisation == "Q4_1"
    assert found.template is not None and "im_start" in found.template and found.size > 90e6 and found.slots == 2


def test_a_key_another_name_and_a_larger_window_are_refused(theirs: LlamaServer) -> None:
    with pytest.raises(EndpointUnreachable, match="wants an API key") as caught:
        find_models(theirs.url)
    assert "api_key_env" in caught.value.remedy
    with pytest.raises(EndpointUnreachable, match="refuses the key") as caught:
        find_models(theirs.url, "not this one")
    assert "not this one" not in str(caught.value)
    with pytest.raises(ModelMissing, match=rf"no model 'smollm:135m'; it has {NAME}"):
        find_model(theirs.url, KEY, "smollm:135m", 512, "[models.x]")
    with pytest.raises(PreflightError, match="window of 512 tokens, but num_ctx is 513") as larger:
        find_model(theirs.url, KEY, NAME, 513, "[models.x]")
    assert "num_ctx = 512 into [models.x]" in larger.value.remedy and larger.value.exit_code == 3


# --- the system message -----------------------------------------------------------------------------------------------

BODY = {"model": "m", "stream": False}


class Template:
    """A server that shows a model what its chat template makes of the messages, and counts the words."""

    def __init__(self, render: Any, busy: int = 0) -> None:
        self.render, self.busy = render, busy

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        self.busy -= 1
        if self.busy >= 0:
            raise EndpointError("503: busy")
        texts = {message["role"]: message["content"] for message in body["messages"]}
        read = self.render(texts.get("system"), texts.get("user"))
        return {} if read is None else {"prompt_eval_count": len(read.split())}


DEFAULT = "You are a model that says much when no system message says anything. " * 30
READ = {
    "a system part": lambda system, user: f"{system} {user}",
    "merged into the user's message": lambda system, user: f"user: {system}\n\n{user}",
    "a default": lambda system, user: f"{system or DEFAULT} {user}",
    "always a preface": lambda system, user: f"{DEFAULT} {system} {user}",
}
UNREAD = {"{{ .Prompt }}": lambda system, user: user, "a default only": lambda system, user: f"{DEFAULT} {user}"}


def check(ask: Any) -> str:
    return check_system("http://there", "m:1b", '[models."m"]', ask, BODY)


@pytest.mark.parametrize("render", READ.values(), ids=READ)
def test_a_system_message_that_is_read_is_found(render: Any) -> None:
    assert check(Template(render)) == ""
    assert check(Template(render, busy=1)) == "", "a busy server is no template"


@pytest.mark.parametrize("render", UNREAD.values(), ids=UNREAD)
def test_one_that_is_dropped_is_an_error_with_both_ways_out(render: Any) -> None:
    with pytest.raises(PreflightError) as caught:
        check(Template(render))
    assert caught.value.code == "E-MODEL-SYSTEM"
    assert "m:1b at http://there" in caught.value.message and "0 in the system message" in caught.value.message
    assert 'system = "user"' in caught.value.remedy and "TEMPLATE" in caught.value.remedy


def test_one_that_is_refused_is_an_error_with_the_servers_words() -> None:
    def refusing(system: str | None, user: str) -> str:
        if system is not None:
            raise EndpointError("400: System role not supported")
        return user

    with pytest.raises(PreflightError, match="System role not supported") as caught:
        check(Template(refusing))
    assert caught.value.code == "E-MODEL-SYSTEM"


def test_a_server_that_fails_anyway_keeps_its_own_error() -> None:
    with pytest.raises(EndpointError, match="busy"):
        check(Template(READ["a default"], busy=9))


@pytest.mark.parametrize("render", [lambda system, user: None, lambda system, user: "seven words whatever was asked"])
def test_a_server_that_does_not_count_gets_a_note(render: Any) -> None:
    assert "cannot tell whether" in check(Template(render))


def test_the_way_out_puts_the_text_at_the_head_of_the_users_message() -> None:
    system, user, answer = ({"role": role, "content": role} for role in ("system", "user", "assistant"))
    assert with_system_at({"messages": [system, user, answer, user]}, "user") == {
        "messages": [{"role": "user", "content": "system\n\nuser"}, answer, user]
    }
    assert with_system_at({"messages": [system]}, "user") == {"messages": [{"role": "user", "content": "system"}]}
    assert with_system_at({"prompt": "p", "system": "s", "model": "m"}, "user") == {"prompt": "s\n\np", "model": "m"}
    body: dict[str, Any]
    for body in ({"messages": [user]}, {"prompt": "p"}, {"messages": []}):
        assert with_system_at(body, "user") == body
    assert with_system_at({"messages": [system, user]}, "system") == {"messages": [system, user]}


def test_it_works_in_both_roles() -> None:
    from gepa.lm import LM

    with serving(Scripted(animator=["hello\n"], reflector=["hello"])) as server:
        with Animator(model("animator", server.url, system="user"), server.url) as animator:
            animator.write([("system", "be brief"), ("user", "hi")], 1, never)
        for provider in ("ollama", "ollama_chat"):
            chosen = model("reflector", server.url, system="user", litellm=f"{provider}/scripted:1b")
            messages: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
            LM(**reflector_arguments(chosen, server.url))(messages)
    for path, body in server.history:
        text = body["prompt"] if path == "/api/generate" else body["messages"][0]["content"]
        assert "be brief" in text and text.index("be brief") < text.rindex("hi")
        assert not body.get("system") and all(m["role"] != "system" for m in body.get("messages", ()))


@pytest.mark.parametrize("template", [False, "System role not supported"])
def test_a_run_ends_before_its_first_sample_and_the_check_of_models_says_it_too(template: Any, tmp_path: Path) -> None:
    with serving(Scripted(reads_system=template)) as server:
        with pytest.raises(PreflightError) as caught:
            optimize(settings(server.url), tmp_path, "r", Notes())
        with pytest.raises(PreflightError):
            check_role(model("animator", server.url))
        assert caught.value.code == "E-MODEL-SYSTEM" and not server.history and not (tmp_path / "r").exists()
        assert "answers" in check_role(model("animator", server.url, system="user"))
        assert "answers" in check_role(model("reflector", server.url))
