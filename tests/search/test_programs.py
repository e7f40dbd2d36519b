"""A reflector that sees: what it is sent arrives byte for byte, and what is stored is a picture and a line of text."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from localgif.agent.graph import Rendered
from localgif.files import content_hash
from localgif.gif import sheet
from localgif.records import Limits
from localgif.run.optimize import optimize
from localgif.sandbox.runner import picture_gif
from localgif.search.programs import CAPTION, Programs, Sight, canonical, render, split, written_down
from localgif.settings import Settings
from localgif.store.log import ProgramRun
from localgif.store.read import load_run
from localgif.store.write import RunStore
from localgif.tasks.suite import load_suite
from localgif.tasks.task import load_task
from tests.support.kit import Notes, fenced, model, program, settings
from tests.support.scripted import MODEL, Scripted, serving

BALL = load_task("bouncing-ball")
ALONE = load_suite("single", "bouncing-ball")
PNG = b"\x89PNG\r\n\x1a\n and so on"


def seeing(url: str, provider: str = "ollama", **changes: Any) -> Settings:
    reflector = model("reflector", url, vision=True, litellm=f"{provider}/{MODEL}")
    return settings(url, reflector=reflector, **changes)


@pytest.fixture(scope="module")
def drawn() -> Rendered:
    return render(program(24), Limits())


def images_in(path: str, body: dict[str, Any]) -> list[bytes]:
    """The pictures of a request, wherever its API has them."""
    holders = [body] if path == "/api/generate" else body["messages"]
    return [base64.b64decode(image, validate=True) for holder in holders for image in holder.get("images") or ()]


@pytest.mark.parametrize(
    ("code", "plain"),
    [
        ('"one"\n"two"\nx = 1  # three\n', "x = 1\n"),
        ('def f():\n    "one"\n    "two"\n', "def f():\n    pass\n"),
        (f'x = "{60_000 * chr(0xFEFF)}"', None),  # each is written with six characters
        ("x = ", None),
    ],
)
def test_the_form_of_a_form_is_itself(code: str, plain: str | None) -> None:
    assert canonical(code) == plain
    assert plain is None or canonical(plain) == plain


def test_a_gif_has_one_sheet_and_it_is_drawn_once(
    store: RunStore, drawn: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update(settings=seeing("http://127.0.0.1:9"))
    programs = Programs(store)
    sight = Sight(programs, store)
    assert drawn.gif is not None
    (png,) = sight.of_gif(drawn.gif)
    assert png == picture_gif(drawn.gif, sheet.__name__)
    spent = programs.seconds
    assert spent > 0
    monkeypatch.setattr("localgif.search.programs.picture_gif", lambda *_: pytest.fail("drawn again"))
    assert sight.of_gif(drawn.gif) == (png,)
    assert programs.seconds == spent


def test_a_program_that_an_earlier_version_measured_is_measured_again(store: RunStore, drawn: Rendered) -> None:
    assert drawn.measurements is not None and drawn.measurements.looks is not None
    less = drawn.measurements.looks.model_copy(update={"ground": ()})
    old = drawn.measurements.model_copy(update={"looks": less})
    row = ProgramRun(
        code=content_hash(program(24)), verdict=drawn.verdict, reason="", measurements=old, seconds=0.1, at=0.0
    )
    store.append(row)
    programs = Programs(store)
    run = programs.run
    outcome = programs.outcome(program(24))
    assert outcome.measurements == drawn.measurements
    assert programs.run == run + 1
    assert programs.score(outcome, BALL).total >= 0


def test_no_sheet_without_a_gif_without_sight_or_of_what_cannot_be_decoded(store: RunStore, drawn: Rendered) -> None:
    blind = Sight(Programs(store), store)
    store.update(settings=seeing("http://127.0.0.1:9"))
    sight = Sight(Programs(store), store)
    assert sight.of_gif(None) == sight.of_sample(None) == ()
    assert sight.of_gif(b"GIF89a and no more") == ()
    assert blind.of_gif(drawn.gif) == ()


def test_a_request_of_gepas_is_split_into_text_and_pictures() -> None:
    from gepa.image import Image

    shown = Image(base64_data=base64.b64encode(PNG).decode(), media_type="image/png")
    content = [{"type": "text", "text": "look"}, shown.to_openai_content_part(), shown.to_openai_content_part()]
    assert split([{"role": "user", "content": content}]) == ("look", [PNG, PNG])
    assert split([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]) == ("a\n\nb", [])
    assert split("plain") == ("plain", [])


def test_a_picture_is_written_down_as_a_line_and_a_file(store: RunStore) -> None:
    assert written_down("text", [], store) == "text"
    assert not (store.folder / "sheets").exists()
    text = written_down("text", [PNG], store)
    assert text.startswith("text\n[picture sheets/") and hashlib.sha256(PNG).hexdigest() in text
    assert load_run(store.folder).data("sheets", content_hash(PNG)) == PNG


# --- whole runs --------------------------------------------------------------------------------------------------


class OneApi(Scripted):
    """Tells the roles apart where both are asked by /api/chat: only the animator has a system prompt."""

    def next(self, path: str, body: dict[str, Any]) -> Any:
        said = super().next(path, body)
        return self.reflector[0] if path == "/api/chat" and body["messages"][0]["role"] != "system" else said

    @property
    def reflections(self) -> list[tuple[str, dict[str, Any]]]:
        return [(p, b) for p, b in self.history if p == "/api/generate" or b["messages"][0]["role"] != "system"]


SEES = ("completion", "vision")
POOR = fenced(program(12, 100))
CRASHING = fenced("def make_gif(path):\n    image.save(path)\n")


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_plain_reflection_is_shown_a_sheet_of_each_sample(tmp_path: Path, provider: str) -> None:
    notes = Notes()
    script = OneApi(animator=[POOR], reflector=["```\nDraw in blue.\n```"], capabilities=SEES)
    with serving(script) as server:
        chosen = seeing(server.url, provider, metric_calls=2, fresh=1)
        optimize(chosen, tmp_path, "r", notes)
    run = load_run(tmp_path / "r")
    (gif,) = {sample.gif for sample in run.samples}
    assert gif is not None
    png = picture_gif(run.data("gifs", gif), sheet.__name__)
    assert isinstance(png, bytes)
    assert [images_in(*request) for request in script.reflections] == [[png, png]], "two samples, two pictures"
    assert not any(images_in(*request) for request in script.history if request not in script.reflections)
    assert run.data("sheets", content_hash(png)) == png
    (proposal,) = run.proposals
    assert proposal.prompt.count(f"[picture sheets/{content_hash(png)}.png, ") == 2
    assert "Sample 1, frames" in proposal.prompt and "Sample 2, frames" in proposal.prompt
    assert (run.folder / "proposals.jsonl").stat().st_size < 10_000
    assert [line.endswith(", sees the frames") for line in notes.lines[:2]] == [False, True]


def test_a_sample_without_a_gif_has_no_picture(tmp_path: Path) -> None:
    script = OneApi(animator=[CRASHING], reflector=["```\nDraw in blue.\n```"], capabilities=SEES)
    with serving(script) as server:
        optimize(seeing(server.url, metric_calls=2, samples=1, fresh=1), tmp_path, "r", Notes())
    assert [images_in(*request) for request in script.reflections] == [[]]
    assert not (tmp_path / "r" / "sheets").exists()


@pytest.mark.parametrize("reflection", ["plain", "instruction-only"])
def test_without_vision_nothing_is_drawn_and_nothing_sent(
    tmp_path: Path, reflection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localgif.search.programs.picture_gif", lambda *_: pytest.fail("drawn"))
    script = OneApi(animator=[POOR], reflector=["Rule: Draw in blue."], capabilities=SEES)
    with serving(script) as server:
        optimize(settings(server.url, reflection=reflection, metric_calls=2, fresh=1), tmp_path, "r", Notes())
    assert script.reflections
    assert not any(images_in(*request) for request in script.reflections)


def test_a_rule_is_asked_for_with_the_worst_samples_sheet(tmp_path: Path) -> None:
    script = OneApi(
        animator=[POOR, fenced(program(24, 40))], reflector=["Rule: Draw the shape in blue."], capabilities=SEES
    )
    with serving(script) as server:
        chosen = seeing(server.url, reflection="instruction-only", metric_calls=2, samples=2, fresh=1)
        optimize(chosen, tmp_path, "r", Notes())
    run = load_run(tmp_path / "r")
    worst = min((s for s in run.samples if s.purpose == "search"), key=lambda s: s.score.total)
    assert worst.gif is not None
    png = picture_gif(run.data("gifs", worst.gif), sheet.__name__)
    assert images_in(*script.reflections[0]) == [png]
    assert CAPTION in script.reflections[0][1]["prompt"]
    assert "[picture sheets/" in run.proposals[0].prompt


def test_a_program_is_repaired_with_its_sheet_and_written_anew_without(tmp_path: Path) -> None:
    # Programs that score above nothing and below the goal, and whose numbers cannot be put right: no motion.
    still = "from PIL import Image\n\ndef make_gif(path):\n    Image.new('RGB', ({0}, {0}), 'red').save(path)\n"
    script = OneApi(animator=[CRASHING], reflector=[fenced(still.format(n)) for n in range(60, 90)], capabilities=SEES)
    with serving(script) as server:
        chosen = seeing(server.url, reflection="example-only", metric_calls=1, samples=2, fresh=1)
        optimize(chosen, tmp_path, "r", Notes())
    asked = [(body["prompt"], images_in(path, body)) for path, body in script.reflections]
    repairs = [(text, images) for text, images in asked if "This program was run:" in text]
    assert repairs and len(repairs) < len(asked)
    for text, images in asked:
        assert len(images) == ("This program was run:" in text)
    text, (png,) = repairs[0]
    code = text.split("```python\n")[1].split("```")[0]
    gif = render(code, Limits()).gif
    assert gif is not None and picture_gif(gif, sheet.__name__) == png
