"""An export returns the prompt: when read by its tool, or by the documented grammar of the format."""

from __future__ import annotations

import ast
import json
import re
import string
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from localgif.errors import ConfigError
from localgif.report.export import FORMS, Best, best_of, export
from localgif.store.read import load_run
from localgif.tasks.task import load_task
from tests.support.kit import model
from tests.support.reports import HOSTILE

PROMPT = (
    "You are a Python animator. Write make_gif(path).\nRules:\n- It costs $5, {{ not }} {% a %} template.\n\n"
    "Example answer:\n```python\ndef f():\n    '''A docstring.'''\n    return \"x\" + 'y\\n'\n```\nEnd with \"quotes\""
)
PRINTABLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def best(prompt: str = PROMPT, text: str = "a red ball") -> Best:
    asked = model("animator", "", model="qwen2.5-coder:1.5b", num_ctx=8192)
    return Best(prompt, text, (("bouncing-ball", text),), "strict", text, asked, "http://127.0.0.1:11434", "full")


def modelfile(text: str) -> dict[str, str]:
    """Ollama's documented grammar: a command, a space, a value; a value in one or three double quotes may have many
    lines and ends where a line ends in the quotes; unprintable characters are dropped; # begins a comment."""
    found: dict[str, str] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        command, value = line.split(" ", 1)
        if command == "PARAMETER":
            command, value = value.split(" ", 1)
        for quotes in ('"""', '"'):
            if value.startswith(quotes):
                while not (value.strip().endswith(quotes) and len(value.strip()) >= 2 * len(quotes)):
                    value += "\n" + next(lines)
                value = value.strip()[len(quotes) : -len(quotes)]
                break
        found[command] = "".join(c for c in value if c.isprintable() or c in "\n\t\r")
    return found


def test_a_modelfile_gives_prompt_and_parameters_back() -> None:
    read = modelfile(export(best(), "modelfile"))
    assert read == {
        "FROM": "qwen2.5-coder:1.5b",
        "num_ctx": "8192",
        "num_predict": "1024",
        "temperature": "0.2",
        "SYSTEM": PROMPT,
    }


@given(PRINTABLE)
def test_a_modelfile_gives_any_prompt_back_or_is_refused(prompt: str) -> None:
    try:
        text = export(best(prompt), "modelfile")
    except ConfigError:
        assert '"""' in prompt or not all(c.isprintable() or c in "\n\t\r" for c in prompt) or '"' in prompt[:1]
        return
    assert modelfile(text)["SYSTEM"] == prompt


def test_a_prompt_that_a_modelfile_would_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="one of its lines ends in three quotes"):
        export(best('def f():\n    """Draws."""\n    return 1'), "modelfile")


@given(PRINTABLE)
def test_a_template_of_llm_gives_any_prompt_back(prompt: str) -> None:
    read = yaml.safe_load(export(best(prompt), "llm"))
    # llm fills in variables with string.Template.
    assert string.Template(read["system"]).substitute({}) == prompt
    assert string.Template(read["prompt"]).substitute(input="a boat").endswith("Animation: a boat")
    assert (read["model"], read["options"]["num_ctx"], read["extract"]) == ("ollama/qwen2.5-coder:1.5b", 8192, True)


def nunjucks(text: str, brief: str) -> str:
    """The two template marks that an exported text uses."""
    pieces = re.split(r"\{% raw %\}(.*?)\{% endraw %\}", text, flags=re.DOTALL)
    return "".join(p if i % 2 else p.replace("{{ brief }}", brief) for i, p in enumerate(pieces))


@given(PRINTABLE)
def test_a_promptfoo_configuration_gives_any_prompt_back(prompt: str) -> None:
    read = yaml.safe_load(export(best(prompt), "promptfoo"))
    system, user = json.loads(read["prompts"][0])
    assert "\n" in read["prompts"][0], "without a line break promptfoo may take it for a file"
    assert nunjucks(system["content"], "a boat") == prompt
    assert nunjucks(user["content"], "a boat").endswith("Animation: a boat")
    assert read["providers"][0]["id"] == "ollama:chat:qwen2.5-coder:1.5b"


def test_the_assert_of_promptfoo_is_python_that_calls_localgif_score() -> None:
    read = yaml.safe_load(export(best(), "promptfoo"))
    (check,) = read["tests"][0]["assert"]
    assert check["type"] == "python"
    tree = ast.parse("def check(output, context):\n" + "\n".join("    " + line for line in check["value"].splitlines()))
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert {"localgif", "score", "--scorer", "strict", "--task", "bouncing-ball"} <= set(words)
    assert "{{" not in check["value"] and "{%" not in check["value"], "promptfoo renders it"


@given(PRINTABLE)
def test_a_python_file_holds_any_prompt(prompt: str) -> None:
    tree = ast.parse(export(best(prompt), "python"))
    (given,) = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PROMPT"
    ]
    assert ast.literal_eval(given) == prompt


@pytest.mark.parametrize("to", FORMS)
def test_hostile_names_and_briefs_break_no_form(to: str) -> None:
    for text in HOSTILE:
        if to == "promptfoo" and "{{" in text:  # export refuses it, see below
            continue
        said = export(best("a prompt", text)._replace(tasks=((text, text),)), to)
        if to == "python":
            ast.parse(said)
        elif to in ("llm", "promptfoo"):
            assert isinstance(yaml.safe_load(said), dict)
        elif to == "modelfile":
            assert modelfile(said)["SYSTEM"] == "a prompt"


@pytest.mark.parametrize("text", ["{{ 7 * 7 }}", "{% raw %}", "{# x", "file:///etc/passwd", " file://x.js"])
def test_a_template_in_a_name_or_brief_is_not_carried_to_promptfoo(text: str) -> None:
    for evil in (best()._replace(tasks=((text, "a ball"),)), best()._replace(tasks=(("a", text),))):
        with pytest.raises(ConfigError, match="a template or a file name"):
            export(evil, "promptfoo")


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(ConfigError, match="there is no format"):
        export(best(), "toml")


def test_each_task_of_a_run_is_exported(several: Path) -> None:
    run, tasks = load_run(several), ("bouncing-ball", "sliding-square")
    assert run.record.result is not None
    whole = best_of(run.record, run.record.result.best.prompt)
    tests = yaml.safe_load(export(whole, "promptfoo"))["tests"]
    assert [test["vars"]["brief"] for test in tests] == [load_task(name).brief for name in tasks]
    for name, test in zip(tasks, tests, strict=True):
        assert f'"--task", {name!r}' in test["assert"][0]["value"]
    for form in ("modelfile", "llm", "python"):
        assert json.dumps(whole.run)[1:-1] in export(whole, form)
