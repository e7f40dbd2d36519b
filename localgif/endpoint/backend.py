"""What the gateway needs to know about a model, whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from localgif.endpoint.gguf import GgufFacts
from localgif.records import ServedModel


@dataclass(frozen=True)
class Upstream:
    """An OpenAI-compatible server that is ready to answer for one model.

    Attributes:
        url: Address without `/v1`.
        key: What it wants as bearer token.
        model: The model's name over there.
        window: Tokens of prompt and answer together.
    """

    url: str
    key: str
    model: str
    window: int


class LoadFailed(Exception):
    """The model could not be brought up; the text is for the user and names the reason."""


class Backend(Protocol):
    """One model behind the gateway."""

    model: ServedModel
    facts: GgufFacts

    def loaded(self) -> Upstream | None:
        """The server, when it is up; never waits."""

    def expires_in(self) -> float:
        """Seconds until the model is unloaded when nobody asks; may be infinite."""

    async def acquire(self, exact: bool = False) -> Upstream:
        """Keep the model loaded until `release`, and load it first when needed.

        Args:
            exact: The probability of every token is wanted, so none may be guessed ahead. Only in one's turn: a server
                that guesses is started again without.

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
        """Why the server went away, e.g. "killed by SIGKILL"; empty when it is still there."""

    async def close(self) -> None:
        """Stop at once, for good."""
