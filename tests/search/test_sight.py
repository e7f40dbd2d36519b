"""A reflector that sees: what it is sent arrives byte for byte, and what is stored is a picture and a line of text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localgif.agent.graph import Rendered
from localgif.config import Settings
from localgif.endpoint.clients import Reflector
from localgif.gif import sheet
from localgif.records import Limits, RunRecord, Verdict
from localgif.runs.store import RunStore, content_hash, load_run
from localgif.sandbox.runner import picture_gif
from localgif.search.candidate import seed_of
from localgif.search.ledger import Ledger
from localgif.search.programs import Programs, render
from localgif.search.reflect import PlainReflector
from localgif.search.sight import CAPTION, Sight, split, written_down
from localgif.tasks.load import load_task
from localgif.tasks.suite import load_suite
from tests.kit import Notes, model, program, settings
from tests.scripted import MODEL, Scripted, serving

BALL = load_task("bouncing-ball")
ALONE = load_suite("single", "bouncing-ball")
PNG = b"\x89PNG\r\n\x1a\n and so on"


def seeing(url: str, provider: str = "ollama", **changes: Any) -> Settings:
    reflector = model("reflector", url, vision=True, litellm=f"{provider}/{MODEL}")
    return settings(url, reflector=reflector, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    fields = {"status": "started", "started": "x", "settings": {}, "versions": {}, "sandbox": {}, "scorer": "article-1"}
    with RunStore.create(tmp_path, RunRecord(name="r", **fields)) as store:
        yield store


@pytest.fixture(scope="module")
def drawn() -> Rendered:
    return render(program(24), Limits())


def images_in(path: str, body: dict[str, Any]) -> list[bytes]:
    """The pictures of a request, wherever its API has them."""
    holders = [body] if path == "/api/generate" else body["messages"]
    return [base64.b64decode(image, validate=True) for holder in holders for image in holder.get("images") or ()]


def test_a_gif_has_one_sheet_and_it_is_drawn_once(
    store: RunStore, drawn: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs(seeing("http://127.0.0.1:9"))
    sight = Sight(seeing("http://127.0.0.1:9"), programs, store)
    assert drawn.gif is not None
    (png,) = sight.of_gif(drawn.gif)
    assert png == picture_gif(drawn.gif, sheet.__name__)
    spent = programs.seconds
    assert spent > 0
    monkeypatch.setattr("localgif.search.programs.picture_gif", lambda *_: pytest.fail("drawn again"))
    assert sight.of_gif(drawn.gif) == (png,)
    assert programs.seconds == spent


def test_no_sheet_without_a_gif_without_sight_or_of_what_cannot_be_decoded(store: RunStore, drawn: Rendered) -> None:
    on, off = seeing("http://127.0.0.1:9"), settings("http://127.0.0.1:9")
    sight = Sight(on, Programs(on), store)
    assert sight.of_gif(None) == sight.of_sample(None) == ()
    assert sight.of_gif(b"GIF89a and no more") == ()
    assert Sight(off, Programs(off), store).of_gif(drawn.gif) == ()


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


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_gepas_stock_request_reaches_the_server_with_its_pictures(
    store: RunStore, drawn: Rendered, provider: str
) -> None:
    from gepa.image import Image
    from gepa.strategies.instruction_proposal import InstructionProposalSignature

    assert drawn.gif is not None
    png = picture_gif(drawn.gif, sheet.__name__)
    assert isinstance(png, bytes)
    side_info = {"Score": 0.5, "Frames": Image(base64_data=base64.b64encode(png).decode(), media_type="image/png")}
    request = InstructionProposalSignature.prompt_renderer(
        {"current_instruction_doc": "Draw.", "dataset_with_feedback": [side_info], "prompt_template": None}
    )
    said = "```\nDraw better.\n```"
    with serving(Scripted(animator=[said], reflector=[said])) as server:
        chosen = seeing(server.url, provider)
        plain = PlainReflector(chosen.reflector, server.url, 0, lambda: "Draw.", store, Notes())
        assert plain(request) == said
    ((path, body),) = server.history
    assert images_in(path, body) == [png]
    (proposal,) = load_run(store.folder).proposals
    assert "[IMAGE-1" in proposal.prompt and f"sheets/{content_hash(png)}.png" in proposal.prompt
    assert base64.b64encode(png).decode()[:40] not in proposal.model_dump_json()


def test_the_ledger_sends_a_sheet_says_what_it_is_and_writes_both_down(store: RunStore) -> None:
    with serving(Scripted(reflector=["Rule: a.\n"])) as server:
        chosen = seeing(server.url)
        ledger = Ledger(chosen, Reflector(chosen.reflector, server.url), ALONE, store, Notes())
        for images in ((PNG,), ()):
            reply = ledger.ask("Write a rule.", lambda _: "", 20, images)
            ledger.record(
                "instruction", BALL, seed_of(ALONE), "Write a rule.", reply, outcome="rejected", reason="no_rule"
            )
    first, second = server.history
    assert images_in(*first) == [PNG] and images_in(*second) == []
    assert CAPTION in first[1]["prompt"] and CAPTION not in second[1]["prompt"]
    shown, blind = load_run(store.folder).proposals
    assert shown.prompt.startswith(f"{CAPTION}Write a rule.\n[picture sheets/{content_hash(PNG)}.png, ")
    assert blind.prompt == "Write a rule."


def test_a_gif_that_only_the_sheet_chokes_on_is_no_failure(
    store: RunStore, drawn: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert drawn.verdict is Verdict.OK
    monkeypatch.setattr("localgif.search.programs.picture_gif", lambda *_: "the GIF cannot be decoded: slow")
    chosen = seeing("http://127.0.0.1:9")
    assert Sight(chosen, Programs(chosen), store).of_gif(drawn.gif) == ()
