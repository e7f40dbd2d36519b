"""What may stand in models.toml: its tables as records, and the JSON Schema that follows from them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from localgif.addresses import server_url

Role = Literal["animator", "reflector"]
EndpointKind = Literal["embedded", "ollama", "openai"]


class _Table(BaseModel):
    # The docstrings are what an editor shows: they become the descriptions of docs/models.schema.json.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class RolesTable(_Table):
    """Which model plays which role."""

    animator: str
    """Writes the programs: a name of a [models.NAME] table, or "ollama:NAME" for any model of a running Ollama."""
    reflector: str
    """Rewrites the animator's prompt: a name of a [models.NAME] table, or "ollama:NAME"."""


class EndpointTable(_Table):
    """Where models run."""

    kind: EndpointKind
    """What it is: llama.cpp inside localgif, a running Ollama, or (openai) vLLM, llama.cpp's own server, LM Studio."""
    url: str | None = None
    """Address of the server: without a path for Ollama, with /v1 for an OpenAI-compatible server."""
    api_key_env: str | None = Field(None, min_length=1)
    """Name of the environment variable that holds the key of a server of kind "openai"."""
    allow_remote: bool = False
    """Whether the address may be another machine's: it gets to read prompts and programs."""

    @field_validator("url", mode="before")
    @classmethod
    def _one_address(cls, url: object, info: ValidationInfo) -> str:
        return server_url(url, openai=info.data.get("kind") == "openai")


class ModelTable(_Table):
    """A model that a role can name."""

    endpoint: str
    """A name of an [endpoints.NAME] table."""
    model: str = Field(min_length=1)
    """The name that the endpoint knows, e.g. "qwen2.5-coder:1.5b"."""
    num_ctx: int = Field(8192, ge=512, le=1_048_576)
    """Window in tokens, prompt and answer together."""
    num_predict: int = Field(1024, ge=16, le=65_536)
    """Longest answer in tokens."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Else 0.2 for the animator and 0.7 for the reflector."""
    gguf: str | None = Field(None, min_length=1)
    """A GGUF file of yours, for an embedded endpoint; a relative path begins at the folder of this file."""
    litellm: str | None = None
    """The reflector's LiteLLM string, else "ollama/" and the model's name."""
    vision: bool = False
    """Whether this model, as the reflector, is shown what was drawn."""
    think: bool = False
    """Whether it may think before it answers: its thoughts count into num_predict and are thrown away."""

    @field_validator("litellm")
    @classmethod
    def _ollama_string(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("ollama/", "ollama_chat/")):
            raise ValueError('must begin with "ollama/" or "ollama_chat/"')
        return value


class ModelsToml(_Table):
    """models.toml: which local model plays which role, and where it runs."""

    offline: bool | None = None
    """True: nothing is fetched, not even weights. False: nothing is refused. Not written: weights that are missing may
    be fetched, and nothing but loopback and the endpoints of this file is reached."""
    roles: RolesTable
    endpoints: dict[str, EndpointTable] = {}
    """Where models run, by name."""
    models: dict[str, ModelTable] = {}
    """Models that a role can name."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of models.toml, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ModelsToml.model_json_schema()}
