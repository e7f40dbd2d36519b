"""What the gateway needs to know about a model, whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from localgif.endpoint.gguf import GgufFacts
from localgif.served import Dialect


@dataclass(frozen=True)
class Upstream:
    """An OpenAI-compatible server that is ready to answer for one model.

    Attributes:
        url: Address without `/v1`.
        key: What it wants as bearer token; empty when it wants none.
        model: The model's name over there.
        window: Tokens of prompt and answer together.
        dialect: Whose names for the fields beyond OpenAI's it knows, and how it counts tokens.
        ours: We started it, with every default set. Somebody else's may shift its window or refuse a long answer.
    """

    url: str
    key: str
    model: str
    window: int
    dialect: Dialect = "llama.cpp"
    ours: bool = True


@dataclass(frozen=True)
class Card:
    """What the listings say about a model.

    Attributes:
        name: What clients ask for.
        facts: From its file, or what its server tells of them.
        num_ctx: The window that it is served with, tokens.
        digest: sha256 of the weights, hex; empty when nobody tells.
        size: Bytes of the weights; 0 when nobody tells.
        modified: Seconds since 1970.
        source: What it is made from: a file's name or a server's address.
        description: For people.
    """

    name: str
    facts: GgufFacts
    num_ctx: int
    digest: str = ""
    size: int = 0
    modified: float = 0.0
    source: str = ""
    description: str = ""


class LoadFailed(Exception):
    """The model could not be brought up; the text is for the user and names the reason."""


class Backend(Protocol):
    """One model behind the gateway."""

    card: Card

    def loaded(self) -> Upstream | None:
        """The server, when it is up; never waits."""

    def expires_in(self) -> float:
        """Seconds until the model is unloaded when nobody asks; may be infinite."""

    async def acquire(self) -> Upstream:
        """Keep the model loaded until `release`, and load it first when needed.

        A caller that is cancelled while it waits does not stop the load, and need not call `release`.

        Raises:
            LoadFailed: The next call tries again.
        """

    async def release(self, keep_alive: float | None) -> None:
        """End of one use.

        Args:
            keep_alive: Seconds to stay loaded from now; None is the default, 0 unloads when nobody else uses it.
        """

    async def obituary(self) -> str:
        """Why the server went away, e.g. "killed by SIGKILL"; empty when it is still there, or not ours."""

    async def close(self) -> None:
        """Stop at once, for good."""
