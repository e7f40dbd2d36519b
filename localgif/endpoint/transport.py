"""What the animator's requests pass through on their way: one word is added that ChatOllama has none for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


def whole_prompts() -> httpx.HTTPTransport:
    """A transport that tells the server not to cut a prompt that is too long: `truncate` false in every chat.

    An Ollama since 0.12.6 then answers 400; without it, it leaves out up to half of the prompt and says nothing.
    """
    import httpx

    class WholePrompts(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST" and request.url.path.endswith("/api/chat"):
                body = json.dumps({**json.loads(request.read()), "truncate": False}).encode()
                kept = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
                request = httpx.Request("POST", request.url, headers=kept, content=body, extensions=request.extensions)
            return super().handle_request(request)

    return WholePrompts()
