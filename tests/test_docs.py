"""README.md and docs/: the site builds strictly, pictures show what they say, commands and error texts are real."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from localgif.gif import measure
from localgif.gif.score import SCORERS
from localgif.records import Measurements
from localgif.tasks.task import load_task
from tests.support.commands import localgif
from tests.support.kit import fenced, program
from tests.support.scripted import MODEL, Scripted, serving

ROOT = Path(__file__).parent.parent
DOCS, PICTURES = ROOT / "docs", ROOT / "docs" / "pictures"
README = (ROOT / "README.md").read_text("utf-8")
#: What a reader sees before opening anything.
ABOVE = re.sub(r"(?s)<details>.*?</details>", "", README)

# --- the site --------------------------------------------------------------------------------------------------------

#: sphinx-build in a process that can connect to nothing.
BUILD = """
import socket, sys
def refuse(*_): raise OSError("no network here")
socket.socket.connect = socket.getaddrinfo = refuse
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    where = ["-c", str(DOCS), "-d", str(site.with_suffix(".trees")), str(source), str(site)]
    command = [sys.executable, "-c", BUILD, "-W", "--keep-going", "-q", "-b", "html", *where]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_host(tmp_path: Path) -> None:
    done = build(DOCS, tmp_path / "site")
    assert (done.returncode, done.stderr) == (0, "")
    pages = list((tmp_path / "site").rglob("*.html"))
    assert {page.stem for page in DOCS.rglob("*.md")} <= {page.stem for page in pages}
    loads = r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href|srcset)=[\"'](?:https?:)?//"
    for page in (*pages, *(tmp_path / "site").rglob("*.css")):
        text = page.read_text("utf-8")
        assert not re.search(loads, text) and not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", text), page


@pytest.mark.slow
def test_a_missing_page_link_or_anchor_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "pages"
    source.mkdir()
    (source / "index.md").write_text("# A\n\n## Pages\n\n- [b](b.md)\n- [c](c.md)\n")
    (source / "b.md").write_text("# B\n\n[here](#b) [gone](#gone) [away](index.md#away)\n")
    (source / "alone.md").write_text("# Alone\n")
    done = build(source, tmp_path / "site")
    assert done.returncode == 1
    for named in ("'gone'", "'away'", "alone.md", "c.md"):
        assert named in done.stderr, done.stderr


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_link_outside_of_the_site_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", (ROOT / name).read_text("utf-8"))
    for file, anchor in links:
        if not file.startswith("https://"):
            page = ROOT / (file or name)
            assert page.is_file() and (not anchor or anchor in anchors(page)), f"{file}#{anchor}"


# --- pictures --------------------------------------------------------------------------------------------------------


def references(text: str) -> list[str]:
    return re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text) + re.findall(r"<img[^>]* src=\"([^\"]+)\"", text)


def test_every_picture_is_there_and_small_and_can_be_decoded() -> None:
    pages = {ROOT / "README.md", *DOCS.rglob("*.md")}
    shown = {(page.parent / name).resolve() for page in pages for name in references(page.read_text("utf-8"))}
    assert {file.resolve() for file in PICTURES.iterdir()} <= shown, "a picture that nobody sees"
    for file in shown:
        if file.suffix == ".svg":
            ElementTree.parse(file)
            continue
        with Image.open(file) as image:
            image.load()
    assert max(file.stat().st_size for file in shown) < 200_000
    assert sum(file.stat().st_size for file in PICTURES.iterdir()) < 600_000


def test_the_gifs_of_the_readme_are_what_it_says_of_them() -> None:
    said = re.search(r"seed prompt: score (\d\.\d+), .* evolved prompt: score (\d\.\d+), (\d+) frames", README)
    assert said is not None
    task, frames = load_task("bouncing-ball"), []
    for name, score in zip(("seed", "best"), said.groups(), strict=False):
        m = Measurements.model_validate(measure.main((PICTURES / f"{name}.gif").read_bytes()))  # our own files
        assert f"{SCORERS['strict'](m, task).total:.3f}" == score
        frames.append(m.frames)
    assert frames[1] == int(said[3])


@pytest.mark.slow
def test_the_readme_shows_all_its_pictures_in_a_browser(browser: Any, tmp_path: Path) -> None:
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(README)
    (tmp_path / "readme.html").write_text(f'<meta charset="utf-8"><base href="{ROOT.as_uri()}/">{page}', "utf-8")
    context = browser.new_context(viewport={"width": 900, "height": 900}, color_scheme="dark")
    try:
        tab = context.new_page()
        tab.goto((tmp_path / "readme.html").as_uri())
        decode = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
        widths = tab.evaluate(decode)
        assert len(widths) == len(references(README)) >= 4 and min(widths) > 90
        assert tab.locator("details").count() == README.count("<details>")
    finally:
        context.close()


# --- the words of the README -----------------------------------------------------------------------------------------


def test_what_stands_above_the_fold_is_short_and_plain() -> None:
    assert len(re.sub(r"<[^>]+>", "", ABOVE).split()) <= 900
    assert not re.search(r"\bp\s*[=<]\s*0", ABOVE), "a p value"
    assert README.count("<details>") == README.count("</details>")
    assert "evolving a prompt that makes a small model draw a\nGIF" in ABOVE, "the article has a name"


def lines() -> list[str]:
    """The command lines of the README's blocks."""
    blocks = re.findall(r"(?s)```sh\n(.*?)```", README)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


#: Commands of which the test only checks that they take these words: one needs a whole Ollama, one ends with Ctrl-C.
ONLY_READ = ("doctor", "serve")


@pytest.mark.slow
def test_every_command_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "some.gif").write_bytes((PICTURES / "best.gif").read_bytes())
    (tmp_path / "program.py").write_text(program(24))
    recipes = re.findall(r"^([\w-]+)(?: \*args)?:$", (ROOT / "Justfile").read_text(), re.MULTILINE)
    ran: list[str] = []
    drawing = program(24).replace('"black"', '"blue"')  # what the README lets `draw` draw
    with serving(Scripted(animator=[fenced(drawing)], reflector=["Rule: draw it."])) as server:
        roles = f'[roles]\nanimator = "ollama:{MODEL}"\nreflector = "ollama:{MODEL}"\n'
        (tmp_path / "models.toml").write_text(f'{roles}[endpoints.ollama]\nkind = "ollama"\nurl = "{server.url}"\n')
        # The run that others read comes first; its budget is the smallest.
        for line in sorted(lines(), key=lambda line: "--task" not in line):
            script, *words = shlex.split(line, comments=True)
            if (script, words[:1]) == ("ollama", ["pull"]):
                continue
            if script == "./scripts/env":
                assert words.pop(0) == "localgif"
            else:
                assert script == "./scripts/just" and words[0] in recipes, line
            name, *rest = [word.replace("qwen2.5-coder:7b", MODEL) for word in words]
            if name == "test":  # it runs this test
                continue
            rest += ["--help"] if name in ONLY_READ else []
            if name == "optimize":
                small = ("--metric-calls", "1", "--samples", "1", "--fresh", "1", "--no-transfer")
                rest += small if "--task" in rest else ("--plan",)
            rest += ["--no-browser"] if name == "view" else []
            done = localgif(tmp_path, name, *rest)
            if name == "resume":  # the run before it is done
                assert (done.exit_code, "[E-USAGE]" in done.stderr) == (2, True), done.output
            else:
                assert done.exit_code == 0, f"{line}: {done.output}"
            ran.append(name)
    assert len(ran) > 12
    assert (tmp_path / "square.gif").is_file() and (tmp_path / "out.gif").is_file()
    assert list(tmp_path.glob("runs/*/report.html"))


# --- error texts -----------------------------------------------------------------------------------------------------

TROUBLE = (DOCS / "troubleshooting.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["draw", "a still ball that bounces", "-o", "x.gif"], {}),
        (["optimize", "--animater", "x"], {}),
        (["optimize", "--offline"], {"LOCALGIF_HOME": "weights", "OLLAMA_MODELS": "store"}),
        (["optimize", "-m", "ollama:qwen2.5-coder:7b"], {"OLLAMA_HOST": "gpu-box"}),
        (["optimize", "-m", "ollama:qwen2.5-coder:7b"], {"OLLAMA_HOST": "127.0.0.1:9"}),
    ],
)
def test_troubleshooting_has_the_text_that_the_program_prints(
    tmp_path: Path, words: list[str], environment: dict[str, str]
) -> None:
    done = localgif(tmp_path, *words, **environment)
    line = next(line for line in done.stderr.splitlines() if line.startswith("error ["))
    assert line.replace("127.0.0.1:9:", "127.0.0.1:11434:") in TROUBLE, line


def test_troubleshooting_has_the_text_of_a_missing_model_a_busy_port_and_a_vague_brief(tmp_path: Path) -> None:
    with serving(Scripted()) as server:
        done = localgif(tmp_path, "optimize", "-m", "ollama:qwen2.5-coder:7b", OLLAMA_HOST=server.url)
        port = server.url.rpartition(":")[2]
        busy = localgif(tmp_path, "serve", "--port", port, LOCALGIF_HOME="weights")
    said = next(line for line in done.stderr.splitlines() if line.startswith("error ["))
    assert said.replace(server.url, "http://127.0.0.1:11434").replace(MODEL, "llama3.2:3b") in TROUBLE
    assert busy.stderr.replace(port, "11435") in TROUBLE
    vague = localgif(tmp_path, "tasks", "new", "a paper boat on waves", "-o", "boat.toml").stderr
    assert all(line in TROUBLE for line in vague.splitlines() if line), vague
