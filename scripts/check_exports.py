"""`just check exports [llm] [promptfoo]`: the real tools read our exports.

The check installs llm with llm-ollama, and promptfoo, into .consumers/ (1 GB, the first time only; promptfoo needs node
and npm). Each tool then sends a request to a scripted model server, which must receive the prompt letter for letter.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from localgif.report.export import export
from tests.report.test_export import PROMPT, best
from tests.support.kit import fenced, model, program
from tests.support.scripted import Scripted, serving

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".consumers"
BRIEF = "a paper boat on waves"
TOOLS = ("llm", "promptfoo")
OPTIONS = {"num_ctx": 8192, "num_predict": 1024, "temperature": 0.2}


def run(*command: str | Path, **environment: str) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(
        [str(part) for part in command], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def installed(name: str) -> Path:
    """The tool's command, which is installed if it is missing."""
    programs = HOME / "llm" / "bin" if name == "llm" else HOME / "node_modules" / ".bin"
    if (programs / name).exists():
        return programs / name
    if name == "llm":
        run(sys.executable, "-m", "venv", HOME / "llm")
        run(programs / "pip", "install", "--quiet", "llm", "llm-ollama")
    else:
        HOME.mkdir(exist_ok=True)
        run("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", HOME, "promptfoo")
    return programs / name


def asked(server: Scripted) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Messages and options of the only request that the server received."""
    (body,) = server.asked("/api/chat")
    return [(message["role"], message["content"]) for message in body["messages"]], body["options"]


def try_llm(folder: Path) -> None:
    """`llm -t gif-animator BRIEF` sends the prompt and the brief, and prints the program alone."""
    command = installed("llm")
    code = program(24)
    with serving(Scripted(animator=[fenced(code)], capabilities=("completion",))) as server:
        chosen = best()._replace(model=model("animator", server.url, num_ctx=8192), url=server.url)
        (folder / "templates").mkdir()
        (folder / "templates" / "gif-animator.yaml").write_text(export(chosen, "llm"))
        printed = run(command, "-t", "gif-animator", BRIEF, OLLAMA_HOST=server.url, LLM_USER_PATH=str(folder))
        messages, options = asked(server)
    assert messages == [("system", PROMPT), ("user", f"Write the function. Animation: {BRIEF}")], messages
    assert OPTIONS.items() <= options.items(), options
    assert printed.strip() == code.strip(), printed
    print(f"{run(command, '--version').strip()}: prompt, brief and options arrive, the program alone is printed")


def try_promptfoo(folder: Path) -> None:
    """`promptfoo eval` sends the prompt and scores the answer with localgif."""
    command = installed("promptfoo")
    with serving(Scripted(animator=[fenced(program(24))])) as server:
        asks = model("animator", server.url, num_ctx=8192)
        chosen = best()._replace(model=asks, url=server.url, scorer="article")
        config, out = folder / "promptfooconfig.yaml", folder / "out.json"
        config.write_text(export(chosen, "promptfoo"))
        quiet = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1", "PROMPTFOO_SELF_HOSTED": "1"}
        run(
            command, "eval", "-c", config, "-o", out, "--no-cache", "--no-progress-bar", "--no-write", "--no-table",
            OLLAMA_BASE_URL=server.url, PROMPTFOO_CONFIG_DIR=str(folder), **quiet,
        )  # fmt: skip
        messages, options = asked(server)
    assert messages == [("system", PROMPT), ("user", "Write the function. Animation: a red ball")], messages
    assert OPTIONS.items() <= options.items(), options
    (result,) = json.loads(out.read_text())["results"]["results"]
    assert result["success"] and result["score"] > 0.98, result
    print(f"promptfoo {run(command, '--version').strip()}: prompt and options arrive, the score is {result['score']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tools", nargs="*", default=list(TOOLS), help=f"tools to try (default: {' '.join(TOOLS)})")
    for tool in parser.parse_args().tools:
        with tempfile.TemporaryDirectory() as name:
            {"llm": try_llm, "promptfoo": try_promptfoo}[tool](Path(name))


if __name__ == "__main__":
    main()
