"""What an endpoint serves, as it is handed to the gateway's process."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from localgif.records import Record


class ServedModel(Record):
    """One model that the embedded endpoint offers."""

    name: str
    """Ollama-style name, e.g. "qwen2.5-coder:1.5b"."""
    path: str
    """The GGUF file."""
    digest: str
    """sha256 of the file, hex."""
    size: int
    num_ctx: int = Field(ge=256)
    """The window that is allocated."""
    description: str = ""
    """Family, size and quantisation for people, e.g. "Qwen2.5-Coder-1.5B-Instruct Q4_K_M"."""


#: How a server names the fields beyond OpenAI's, and counts tokens; "other" gets llama.cpp's names and is not asked.
Dialect = Literal["llama.cpp", "vllm", "other"]


class RemoteModel(Record):
    """One model of an OpenAI-compatible server that somebody else runs, as it was found there."""

    name: str
    """The server's own name for it."""
    url: str
    """Address of the server without `/v1`."""
    key: str = Field("", repr=False)
    """Bearer token; crosses to the gateway's process only, and is stored nowhere."""
    dialect: Dialect
    server: str
    """For people and for the run's record, e.g. "vLLM 0.32.0"."""
    window: int
    """Tokens of prompt and answer together; 0 when the server does not say."""
    slots: int = 0
    """Requests that the server works on at once; 0 when it does not say."""
    context_length: int = 0
    """The window that the model was trained for; 0 when the server does not say, like the next three."""
    parameters: int = 0
    size: int = 0
    created: int = 0
    """Seconds since 1970, as the server lists it."""
    quantisation: str = "unknown"
    template: str | None = None
    """The chat template; None when the server does not show it."""


class ServeConfig(Record):
    """What `localgif serve` serves."""

    models: tuple[ServedModel, ...] = ()
    remotes: tuple[RemoteModel, ...] = ()
    slots: int = Field(1, ge=1)
    """Requests at once to the server of `remotes`. The embedded engines get one at a time, all together."""
    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = Field(0, ge=0, le=65535)
    """0: the system picks a free one."""
    threads: int | None = None
    """None: the machine's physical cores."""
    swap: bool = False
    """Whether a model is unloaded before another is loaded, because there is no memory for all at once."""
    max_queue: int = Field(512, ge=1)
    """Requests that may wait; one more is answered with 503."""
