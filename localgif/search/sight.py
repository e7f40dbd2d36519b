"""Contact sheets of GIFs for a reflector that can see, and how a request with pictures is stored."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from localgif.records import Sample
from localgif.search.programs import Programs
from localgif.store.write import RunStore

#: Name of a sheet in the side info, after the number of its sample.
KEY = "frames (numbered; a cell named seam shows where the last and the first differ)"
#: First lines of a grounded request with a sheet.
CAPTION = (
    "The picture shows frames, with their numbers, of what the program spoken of below drew, the worst one if there "
    "are two. A cell named seam, if there is one, shows where the last and the first frame differ.\n\n"
)


class Sight:
    """Contact sheets for a reflector with vision = true; nothing for any other."""

    def __init__(self, programs: Programs, store: RunStore) -> None:
        self._on = store.settings.reflector.vision
        self._programs = programs
        self._store = store

    def of_gif(self, gif: bytes | None) -> tuple[bytes, ...]:
        """The sheet of a GIF, a PNG; empty without a GIF, or when it cannot be decoded.

        Raises:
            SandboxError: The sandbox failed.
        """
        sheet = self._programs.sheet(gif) if self._on and gif is not None else None
        return () if sheet is None else (sheet,)

    def of_program(self, code: str) -> tuple[bytes, ...]:
        """The sheet of a program's GIF, as of_gif."""
        return self.of_gif(self._programs.render(code).gif) if self._on else ()

    def of_sample(self, sample: Sample | None) -> tuple[bytes, ...]:
        """The sheet of a sample's GIF, as of_gif."""
        if not self._on or sample is None or sample.gif is None:
            return ()
        return self.of_gif(self._store.gif(sample.gif))

    def side_info(self, position: int, sample: Sample) -> dict[str, bytes]:
        """The entry of the side info for the sample at `position`, from 1: its sheet, a PNG."""
        return {f"Sample {position}, {KEY}": png for png in self.of_sample(sample)}


def split(prompt: str | list[dict[str, Any]]) -> tuple[str, list[bytes]]:
    """Text and pictures of a request from GEPA: a text, or messages with content parts."""
    if isinstance(prompt, str):
        return prompt, []
    texts: list[str] = []
    images: list[bytes] = []
    for message in prompt:
        content = message["content"]
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                images.append(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
    return "\n\n".join(texts), images


def written_down(text: str, images: Sequence[bytes], store: RunStore) -> str:
    """A request for proposals.jsonl, with one line per picture; the picture goes to sheets/."""
    lines = [
        f"[picture sheets/{store.put_sheet(png)}.png, {len(png):,} bytes, sha256 {hashlib.sha256(png).hexdigest()}]"
        for png in images
    ]
    return "\n".join([text, *lines])
