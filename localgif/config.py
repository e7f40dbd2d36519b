"""models.toml + flags -> frozen Settings. The only reader of TOML settings."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from localgif.addresses import http_parts, openai_url
from localgif.errors import ConfigError
from localgif.modes import DEFAULTS, Mode
from localgif.records import Limits, Record

MODELS_FILE = Path("models.toml")

Role = Literal["animator", "reflector"]
EndpointKind = Literal["embedded", "ollama", "openai"]

#: Used where models.toml sets none: the article's 0.2 makes the score reflect the prompt, not the dice; a reflector
#: that always gives the same answer to the same prompt proposes nothing new.
ROLE_TEMPERATURE: dict[Role, float] = {"animator": 0.2, "reflector": 0.7}


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Roles(_Table):
    animator: str
    reflector: str


class _Endpoint(_Table):
    kind: EndpointKind
    url: str | None = None
    api_key_env: str | None = Field(None, min_length=1)

    @field_validator("url")
    @classmethod
    def _plain_http_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        # ollama-python silently falls back to its own default for a value that it cannot parse.
        if url is None:
            return None
        if info.data.get("kind") == "openai":
            return openai_url(url)
        parts = http_parts(url, "http://127.0.0.1:11434")
        if parts.path.rstrip("/"):
            raise ValueError("must have no path: the Ollama API is asked at the root, not under /v1")
        return url.rstrip("/")


class _Model(_Table):
    endpoint: str
    model: str = Field(min_length=1)
    num_ctx: int = Field(8192, ge=512, le=1_048_576)
    num_predict: int = Field(1024, ge=16, le=65_536)
    temperature: float | None = Field(None, ge=0, le=2)
    path: str | None = None
    litellm: str | None = None
    vision: bool = False

    @field_validator("litellm")
    @classmethod
    def _ollama_string(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("ollama/", "ollama_chat/")):
            raise ValueError('must begin with "ollama/" or "ollama_chat/"')
        return value


class _File(_Table):
    roles: _Roles
    endpoints: dict[str, _Endpoint]
    models: dict[str, _Model]


class EndpointSettings(Record):
    """Where a model runs."""

    name: str
    kind: EndpointKind
    url: str | None
    """None for the embedded endpoint, which picks a free port at start; of kind "openai" with `/v1` at its end."""
    api_key_env: str | None = None
    """Name of the environment variable with the key; the key itself is stored nowhere."""


class ModelSettings(Record):
    """One role's model with everything a request needs."""

    role: Role
    alias: str
    endpoint: EndpointSettings
    model: str
    num_ctx: int
    num_predict: int
    temperature: float
    path: str | None
    litellm: str
    """The LiteLLM model string, e.g. "ollama/qwen2.5-coder:1.5b"."""
    vision: bool = False
    """Whether the reflector is shown contact sheets; nothing for the animator."""


#: The article's score cannot exceed 0.992 with 24 frames in about a second, the strict one is 1 at best: nothing that
#: anyone sees is left to gain beyond this.
TARGET = 0.985


class Settings(Record):
    """Everything that decides a run. Stored whole in run.json."""

    animator: ModelSettings
    reflector: ModelSettings
    task: str = "bouncing-ball"
    """What tasks/suite.py reads: one task, several with commas between them, or the name of the split."""
    mode: Mode = "single"
    reflection: Literal["grounded", "example-only", "instruction-only", "plain"] = "grounded"
    facts: bool = True
    """Whether grounded reflection is told background facts about Pillow and GIFs."""
    target: float | None = Field(TARGET, gt=0, le=1)
    """The search ends when a re-test of its best candidate holds this score; None spends the whole budget."""
    scorer: Literal["strict", "article"] = "strict"
    metric_calls: int = Field(12, ge=1, le=10_000)
    samples: int = Field(2, ge=1, le=64)
    fresh: int = Field(4, ge=1, le=64)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    minutes: float | None = Field(None, gt=0)
    limits: Limits = Limits()
    sandbox_level: Literal["full", "no-read-confinement", "weak", "limits-only"] = "no-read-confinement"
    """The weakest sandbox level that is accepted; what a run really had is in its record."""

    @property
    def moves(self) -> tuple[Literal["example", "instruction"], ...]:
        """What grounded reflection may change; nothing for plain reflection, which has no moves."""
        if self.reflection == "example-only":
            return ("example",)
        if self.reflection == "instruction-only":
            return ("instruction",)
        return ("example", "instruction") if self.reflection == "grounded" else ()


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: the nearest known one, or all of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f'did you mean "{close[0]}"? (known: {", ".join(names)})'
    return f"known: {', '.join(names)}" if names else "none is known"


class ModelsFile:
    """A checked models.toml."""

    def __init__(self, path: Path, data: _File) -> None:
        self.path = path
        self._data = data

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names under [models], in the file's order."""
        return tuple(self._data.models)

    def role(self, role: Role, alias: str | None = None) -> ModelSettings:
        """The settings of a role, optionally with another model than [roles] names.

        Raises:
            ConfigError: the alias, or the endpoint that it names, is not in the file.
        """
        chosen = alias or getattr(self._data.roles, role)
        place = f"--{role}" if alias else f"{self.path}: roles.{role}"
        if chosen not in self._data.models:
            raise ConfigError(
                f'{place} names the model "{chosen}", which {self.path} does not have',
                f"{nearest(chosen, self._data.models)}; or add a table [models.{_quoted(chosen)}]",
            )
        return self._settings(role, chosen)

    def _endpoint(self, alias: str, model: _Model) -> _Endpoint:
        if model.endpoint not in self._data.endpoints:
            raise ConfigError(
                f'{self.path}: models.{_quoted(alias)}.endpoint names "{model.endpoint}", '
                "which is not under [endpoints]",
                nearest(model.endpoint, self._data.endpoints),
            )
        return self._data.endpoints[model.endpoint]

    def _settings(self, role: Role, alias: str) -> ModelSettings:
        model = self._data.models[alias]
        endpoint = self._endpoint(alias, model)
        if endpoint.kind != "embedded" and endpoint.url is None:
            example = "http://127.0.0.1:11434" if endpoint.kind == "ollama" else "http://127.0.0.1:8000/v1"
            raise ConfigError(
                f"{self.path}: endpoints.{model.endpoint} has no url", f'add a line such as url = "{example}"'
            )
        if endpoint.kind != "openai" and endpoint.api_key_env is not None:
            raise ConfigError(
                f"{self.path}: endpoints.{model.endpoint}.api_key_env is for an endpoint of kind openai, "
                f'not "{endpoint.kind}"',
                "remove the line",
            )
        if model.vision and endpoint.kind == "embedded":
            raise ConfigError(
                f'{self.path}: models.{_quoted(alias)}.vision = true, but the endpoint "{model.endpoint}" is embedded, '
                "and the embedded engine cannot look at pictures",
                'remove the line, or give the model an endpoint of kind "ollama" that has it with vision',
            )
        if model.num_predict >= model.num_ctx:
            raise ConfigError(
                f"{self.path}: models.{_quoted(alias)}: num_predict ({model.num_predict}) leaves no room for a prompt "
                f"in num_ctx ({model.num_ctx})",
                "lower num_predict or raise num_ctx",
            )
        return ModelSettings(
            role=role,
            alias=alias,
            endpoint=EndpointSettings(name=model.endpoint, **endpoint.model_dump()),
            model=model.model,
            num_ctx=model.num_ctx,
            num_predict=model.num_predict,
            temperature=ROLE_TEMPERATURE[role] if model.temperature is None else model.temperature,
            path=model.path,
            litellm=model.litellm or f"ollama/{model.model}",
            vision=model.vision,
        )


def load_models_file(path: Path = MODELS_FILE) -> ModelsFile:
    """Read and check models.toml.

    Raises:
        ConfigError: missing, unreadable, no TOML, an unknown key, a wrong type, a missing role.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is not here ({Path.cwd()})", "run localgif where models.toml lies, or name the file: --models FILE"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}", "check the file's permissions") from None
    try:
        data = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", "correct that line") from None
    try:
        return ModelsFile(path, _File.model_validate(data))
    except ValidationError as error:
        raise ConfigError(*_explain(path, error)) from None


#: What this version offers where the command line names a choice.
_CHOICES = {
    "mode": tuple(DEFAULTS),
    "reflection": ("grounded", "example-only", "instruction-only", "plain"),
    "scorer": ("strict", "article"),
}


def make_settings(
    models: ModelsFile, *, animator: str | None = None, reflector: str | None = None, **values: Any
) -> Settings:
    """Settings of a run from models.toml and flags; `values` are the other fields of Settings.

    A value of None for task, metric_calls and samples is the mode's own (modes.py).

    Raises:
        ConfigError: an unknown model or choice (with the nearest known one), or a number out of range.
    """
    for name, known in _CHOICES.items():
        value = values.get(name, known[0])
        if value not in known:
            raise ConfigError(f'--{name} {value}: there is no {name} "{value}"', nearest(str(value), known))
    for name, default in DEFAULTS[values.get("mode", "single")].items():
        if values.get(name) is None:
            values[name] = default
    return _validated(
        {"animator": models.role("animator", animator), "reflector": models.role("reflector", reflector), **values}
    )


def changed_settings(stored: Settings, models: ModelsFile, changes: Mapping[str, Any]) -> Settings:
    """Settings of a stored run with what models.toml says of its models today, and with other values for some fields.

    For "animator" and "reflector" `changes` has the name of another model. Raises ConfigError as make_settings does.
    """
    return _validated(
        {
            **stored.model_dump(),
            **changes,
            "animator": models.role("animator", changes.get("animator", stored.animator.alias)),
            "reflector": models.role("reflector", changes.get("reflector", stored.reflector.alias)),
        }
    )


def _validated(values: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        flag = "--" + str(problem["loc"][0]).replace("_", "-")
        raise ConfigError(f"{flag} {problem['input']}: {problem['msg']}", "see: localgif optimize --help") from None


def _quoted(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else f'"{key}"'


def _keys_at(location: tuple[str | int, ...]) -> list[str]:
    """The keys that are known in the table that `location` lies in."""
    tables: dict[str, type[_Table]] = {"roles": _Roles, "endpoints": _Endpoint, "models": _Model}
    if len(location) == 1:
        return list(_File.model_fields)
    return list(tables[str(location[0])].model_fields)


def _explain(path: Path, error: ValidationError) -> tuple[str, str]:
    """(message, remedy) of the first problem, with the key's full name and the nearest known key."""
    problem = error.errors()[0]
    location = problem["loc"]
    key = ".".join(_quoted(str(part)) for part in location)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key {key}{more}", nearest(str(location[-1]), _keys_at(location))
    if problem["type"] == "missing":
        return f"{path}: {key} is missing{more}", f"add it: {_example(location)}"
    value: Any = problem["input"]
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {key} = {value!r}: {message}{more}", "correct the value"


def _example(location: tuple[str | int, ...]) -> str:
    examples = {
        "roles": '[roles] with animator = "..." and reflector = "..."',
        "endpoints": '[endpoints.embedded] with kind = "embedded"',
        "models": '[models.NAME] with endpoint = "embedded" and model = "qwen2.5-coder:1.5b"',
        "animator": 'animator = "NAME" under [roles], a name of a [models.NAME] table',
        "reflector": 'reflector = "NAME" under [roles], a name of a [models.NAME] table',
        "kind": 'kind = "embedded", kind = "ollama" or kind = "openai"',
        "endpoint": 'endpoint = "embedded"',
        "model": 'model = "qwen2.5-coder:1.5b"',
    }
    return examples.get(str(location[-1]), str(location[-1]))
