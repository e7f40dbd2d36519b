"""A model on an OpenAI-compatible server that somebody else runs: vLLM, llama.cpp's own server, LM Studio."""

from __future__ import annotations

from localgif.endpoint.backend import Card, Upstream
from localgif.endpoint.gguf import GgufFacts
from localgif.endpoint.options import FOREVER
from localgif.served import RemoteModel


class Remote:
    """A `Backend` whose server is not ours to start, unload or mourn.

    Args:
        model: What `upstream.find_models` found there.
    """

    def __init__(self, model: RemoteModel) -> None:
        facts = GgufFacts(
            context_length=model.context_length or model.window,
            parameters=model.parameters,
            quantisation=model.quantisation,
            template=model.template,
        )
        self.card = Card(
            name=model.name,
            facts=facts,
            num_ctx=model.window,
            size=model.size,
            modified=float(model.created),
            source=f"{model.url}/v1",
            description=model.server,
        )
        self._upstream = Upstream(model.url, model.key, model.name, model.window, model.dialect, ours=False)

    def loaded(self) -> Upstream | None:
        return self._upstream

    def expires_in(self) -> float:
        return FOREVER

    async def acquire(self) -> Upstream:
        return self._upstream

    async def release(self, keep_alive: float | None) -> None:
        """Nothing: how long a model stays is its server's decision."""

    async def obituary(self) -> str:
        return ""

    async def close(self) -> None:
        """Nothing to stop."""
