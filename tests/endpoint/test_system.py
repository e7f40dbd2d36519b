"""A model that never sees the system prompt is found by counting, before the first sample, on every endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localgif.endpoint.clients import Animator, reflector_arguments
from localgif.endpoint.system import check_system, moved
from localgif.errors import EndpointError, PreflightError
from localgif.run.optimize import optimize
from localgif.run.roles import check_role
from tests.support.gateway_kit import never
from tests.support.kit import Notes, model, settings
from tests.support.scripted import Scripted, serving

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
UNREAD = {
    "{{ .Prompt }}": lambda system, user: user,
    "a default only": lambda system, user: f"{DEFAULT} {user}",
}


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
    assert moved({"messages": [system, user, answer, user]}, "user") == {
        "messages": [{"role": "user", "content": "system\n\nuser"}, answer, user]
    }
    assert moved({"messages": [system]}, "user") == {"messages": [{"role": "user", "content": "system"}]}
    assert moved({"prompt": "p", "system": "s", "model": "m"}, "user") == {"prompt": "s\n\np", "model": "m"}
    body: dict[str, Any]
    for body in ({"messages": [user]}, {"prompt": "p"}, {"messages": []}):
        assert moved(body, "user") == body
    assert moved({"messages": [system, user]}, "system") == {"messages": [system, user]}


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
