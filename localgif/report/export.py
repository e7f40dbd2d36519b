"""Exports a run's best prompt in the formats of other tools.

Every format returns the prompt unchanged when read. A prompt that a format cannot carry is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from localgif.agent.prompts import request
from localgif.errors import ConfigError
from localgif.records import RunResult
from localgif.settings import ModelSettings
from localgif.store.read import RunRecord
from localgif.tasks.suite import task_texts

#: The address of `localgif serve`, for runs whose endpoint localgif started.
_SERVED = "http://127.0.0.1:11435"


class Best(NamedTuple):
    """A prompt, and the facts that an exported file includes."""

    prompt: str
    run: str
    tasks: tuple[tuple[str, str], ...]
    """(value of --task, brief) of each task; at least one."""
    scorer: str
    """The value of --scorer."""
    word: str
    """The verdict in a sentence, for a comment."""
    model: ModelSettings
    url: str
    level: str
    """The weakest sandbox level that the run accepted, the value of --sandbox-level."""


def export(best: Best, to: str) -> str:
    """The text of the exported file. Raises ConfigError if the format is unknown, or cannot carry this prompt."""
    if to not in FORMS:
        raise ConfigError(f'--to {to}: there is no format "{to}"', f"known: {', '.join(FORMS)}")
    return FORMS[to](best)


def _md(best: Best) -> str:
    return best.prompt.rstrip("\n") + "\n"


def _modelfile(best: Best) -> str:
    """A Modelfile of Ollama. It has no escapes: a quoted text ends where a line ends in three quotes."""
    text = best.prompt
    lines = [match.start() for match in re.finditer(r"[\r\n]", text)]
    ends = any(len(said := f'"""{text[:end]}'.strip()) >= 6 and said.endswith('"""') for end in lines)
    odd = sorted({char for char in text if not char.isprintable() and char not in "\n\r\t"})
    if ends or odd:
        why = "one of its lines ends in three quotes" if ends else f"it has {', '.join(f'U+{ord(c):04X}' for c in odd)}"
        raise ConfigError(
            f"a Modelfile cannot carry this prompt: {why}", "use another format: --to md, --to python", code="E-EXPORT"
        )
    return (
        f"# {_comment(best)}\n"
        f"FROM {_line(best.model.model)}\n"
        f"PARAMETER num_ctx {best.model.num_ctx:d}\n"
        f"PARAMETER num_predict {best.model.num_predict:d}\n"
        f"PARAMETER temperature {best.model.temperature:g}\n"
        f'SYSTEM """{text}"""\n'
    )


def _llm(best: Best) -> str:
    """A template for the tool `llm`, where `$$` means a dollar sign. The plugin llm-ollama (0.19) adds `ollama/` to a
    model's name."""
    system = best.prompt.replace("$", "$$")
    return (
        f"# {_comment(best)}\n"
        f"model: {_yaml(f'ollama/{best.model.model}')}\n"
        f"system: {_yaml(system)}\n"
        f"prompt: {_yaml(request('$input'))}\n"
        "extract: true\n"
        "options:\n"
        f"  num_ctx: {best.model.num_ctx:d}\n"
        f"  num_predict: {best.model.num_predict:d}\n"
        f"  temperature: {best.model.temperature:g}\n"
    )


#: promptfoo runs this on every answer: the program in the sandbox, then `localgif score` on its GIF.
_ASSERT = """\
import json, pathlib, re, subprocess, tempfile
blocks = re.findall(r"```(?:python)?\\n(.*?)```", output, re.S)
with tempfile.TemporaryDirectory() as folder:
    program, gif = pathlib.Path(folder, "program.py"), str(pathlib.Path(folder, "out.gif"))
    program.write_text(blocks[0] if blocks else output)
    level = ["--sandbox-level", LEVEL]
    command = ["localgif", "sandbox", "run", str(program), "-o", gif, "--json", *level]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        reason = json.loads(ran.stdout)["reason"] if ran.stdout else ran.stderr
        return dict([("pass", False), ("score", 0), ("reason", reason)])
    how = ["--scorer", SCORER, "--task", TASK, *level]
    said = subprocess.run(["localgif", "score", gif, "--json", *how], capture_output=True, text=True, check=True)
    score = json.loads(said.stdout)["score"]
    lost = [part["name"] for part in score["parts"] if part["value"] < 0.9]
    reason = "lost by: " + ", ".join(lost) if lost else "nothing lost"
    return dict([("pass", score["total"] >= 0.9), ("score", score["total"]), ("reason", reason)])
"""


def _promptfoo(best: Best) -> str:
    """A promptfoo configuration. promptfoo treats texts as templates, so the prompt is inside a raw block."""
    if "endraw" in best.prompt:
        raise ConfigError(
            'a promptfoo prompt cannot contain the word "endraw"',
            "use another format: --to md, --to python",
            code="E-EXPORT",
        )
    for text in (best.run, best.model.model, *(text for task in best.tasks for text in task)):
        if re.search(r"\{[{%#]|^\s*file:", text):  # promptfoo would evaluate it
            raise ConfigError(
                f"a promptfoo file cannot contain {text[:80]!r}, which promptfoo reads as a template or a file name",
                "use another format: --to md, --to python",
                code="E-EXPORT",
            )
    # promptfoo parses a JSON prompt and renders its templates. Line breaks keep it from looking like a file name.
    system = "{% raw %}" + best.prompt + "{% endraw %}"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": request("{{ brief }}")}]
    chat = json.dumps(messages, indent=1, ensure_ascii=False)
    tests = "".join(_promptfoo_test(best, *each) for each in best.tasks)
    return (
        f"# {_comment(best)}\n"
        "# Needs localgif on the PATH. The tests score the run's tasks; another brief needs its own --task.\n"
        f"description: {_yaml(f'the prompt of run {best.run}')}\n"
        f"prompts:\n  - {_yaml(chat)}\n"
        f"providers:\n  - id: {_yaml('ollama:chat:' + best.model.model)}\n"
        "    config:\n"
        f"      num_ctx: {best.model.num_ctx:d}\n"
        f"      num_predict: {best.model.num_predict:d}\n"
        f"      temperature: {best.model.temperature:g}\n"
        f"tests:\n{tests}"
    )


def _promptfoo_test(best: Best, task: str, brief: str) -> str:
    check = _ASSERT.replace("LEVEL", repr(best.level)).replace("SCORER", repr(best.scorer)).replace("TASK", repr(task))
    return f"  - vars:\n      brief: {_yaml(brief)}\n    assert:\n      - type: python\n        value: {_yaml(check)}\n"


_PYTHON = '''\
"""{comment}

Asks a model behind an Ollama API for a program that draws a GIF, and prints the program. Run that in a sandbox:
    python this_file.py "{example}" > program.py && localgif sandbox run program.py -o out.gif
Needs langgraph and langchain-ollama.
"""

import re
import sys
from typing import TypedDict

from langchain_ollama import ChatOllama
from langgraph.graph import END, START, StateGraph

PROMPT = (
{prompt}
)


class State(TypedDict):
    brief: str
    program: str


model = ChatOllama(
    model={model},
    base_url={url},
    num_ctx={num_ctx:d},
    num_predict={num_predict:d},
    temperature={temperature:g},
)


def write(state: State) -> dict[str, str]:
    answer = model.invoke([("system", PROMPT), ("user", {request} + state["brief"])])
    text = str(answer.content)
    blocks = re.findall(r"```(?:python)?\\n(.*?)```", text, re.DOTALL)
    return {{"program": blocks[0] if blocks else text}}


graph = StateGraph(State)
graph.add_node("write", write)
graph.add_edge(START, "write")
graph.add_edge("write", END)
agent = graph.compile()

if __name__ == "__main__":
    print(agent.invoke({{"brief": sys.argv[1], "program": ""}})["program"])
'''


def _python(best: Best) -> str:
    lines = best.prompt.splitlines(keepends=True) or [""]
    return _PYTHON.format(
        comment=_literal(_comment(best)),
        example=_literal(_line(best.tasks[0][1])).replace('"', "'"),
        prompt="\n".join(f"    {line!r}" for line in lines),
        model=repr(best.model.model),
        url=repr(best.url),
        num_ctx=best.model.num_ctx,
        num_predict=best.model.num_predict,
        temperature=best.model.temperature,
        request=repr(request("")),
    )


FORMS: dict[str, Callable[[Best], str]] = {
    "md": _md,
    "modelfile": _modelfile,
    "llm": _llm,
    "promptfoo": _promptfoo,
    "python": _python,
}


def _comment(best: Best) -> str:
    briefs = "; ".join(brief for _, brief in best.tasks)
    return f"The prompt of localgif's run {_line(best.run)} for: {_line(briefs)}. {_line(best.word)}"


def _line(text: str) -> str:
    """The text on one line, printable characters only."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _literal(text: str) -> str:
    """The text, made safe inside a triple-quoted Python string."""
    return text.replace("\\", "/").replace('"', "'")


def _yaml(text: str) -> str:
    """The text as a double-quoted YAML string."""
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(
        r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\u2028\u2029]", _escaped, quoted
    )


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def best_of(record: RunRecord, prompt: str) -> Best:
    """What to export for a run and its prompt."""
    settings, animator, result = record.settings, record.settings.animator, record.result
    # A user's task is known by its path, the tasks of a split by their names.
    names = task_texts(settings) or [task.name for task in record.drawn]
    named = [(name, task.brief) for name, task in zip(names, record.drawn, strict=False)]
    endpoint = animator.endpoint
    return Best(
        prompt=prompt.rstrip("\n"),
        run=record.name,
        tasks=tuple(named) or ((settings.task, settings.task),),
        scorer=settings.scorer,
        word=_shown(result, record.scorer) if result is not None else "It is not compared with the seed prompt yet.",
        model=animator,
        url=endpoint.url if endpoint.kind == "ollama" and endpoint.url else _SERVED,
        level=settings.sandbox_level,
    )


def _shown(result: RunResult, rule: str) -> str:
    """The verdict and the mean score in a sentence."""
    if result.best_of is not None:
        word = "It is the seed prompt; the run did not evolve one"
    elif result.best.is_seed:
        word = "It is the seed prompt, which no proposal beat"
    elif result.verdict.word == "not shown":
        word = "No difference from the seed prompt was shown"
    else:
        word = f"It was {result.verdict.word} than the seed prompt"
    return f"{word}; mean score {result.best.mean:.3f} by {rule} on {len(result.best.scores)} fresh samples."
