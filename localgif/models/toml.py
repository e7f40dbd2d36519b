"""models.toml: its schema, its messages, its models and endpoints, and the change of one line."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from localgif import settings
from localgif.errors import ConfigError, nearest
from localgif.files import parse_toml, read_input_text
from localgif.offline import is_here, server_url, unusable_certificates, without_secret
from localgif.settings import (
    FIELDS,
    ROLE_TEMPERATURE,
    Endpoint,
    EndpointKind,
    EndpointSettings,
    Model,
    ModelSettings,
    Role,
    Settings,
)


class _Table(BaseModel):
    # The docstrings are what an editor shows: they become the descriptions of docs/models.schema.json.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class RolesTable(_Table):
    """Which model plays which role."""

    animator: str
    """Writes the programs: a name of a [models.NAME] table, or "ollama:NAME" for any model of a running Ollama."""
    reflector: str
    """Rewrites the animator's prompt: a name of a [models.NAME] table, or "ollama:NAME"."""


class EndpointTable(Endpoint, _Table):
    """Where models run."""

    @field_validator("url", mode="before")
    @classmethod
    def _one_address(cls, url: object, info: ValidationInfo) -> str:
        return server_url(url, openai=info.data.get("kind") == "openai")


class ModelTable(Model, _Table):
    """A model that a role can name."""

    endpoint: str
    """A name of an [endpoints.NAME] table."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Without it 0.2 for the animator and 0.7 for the reflector."""
    gguf: str | None = Field(None, min_length=1)
    """A GGUF file of yours, for an embedded endpoint; a relative path begins at the folder of this file."""
    litellm: str | None = None
    """The reflector's LiteLLM string; without it "ollama/" and the model's name."""

    @field_validator("litellm")
    @classmethod
    def _ollama_string(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("ollama/", "ollama_chat/")):
            raise ValueError('must begin with "ollama/" or "ollama_chat/"')
        return value


class ModelsToml(_Table):
    """models.toml: which local model plays which role, and where it runs."""

    offline: bool | None = None
    """True: localgif downloads nothing, not even weights. False: it refuses no connection. Without it: localgif may
    download missing weights, and connects only to loopback and to the endpoints of this file."""
    roles: RolesTable
    endpoints: dict[str, EndpointTable] = {}
    """Where models run, by name."""
    models: dict[str, ModelTable] = {}
    """Models that a role can name."""


#: The tables of the file: how many names lead to one, and what it holds; "" is the file itself.
_TABLES: dict[str, tuple[int, type[_Table]]] = {
    "": (0, ModelsToml),
    "roles": (1, RolesTable),
    "endpoints": (2, EndpointTable),
    "models": (2, ModelTable),
}
#: Keys of earlier versions -> what they are called now.
_RENAMED = {"path": "gguf"}
_PROXY = "for several servers put a reverse proxy such as nginx or HAProxy in front and name its address"

#: What to add when a key is missing.
_EXAMPLES = {
    "roles": '[roles] with animator = "..." and reflector = "..."',
    "animator": 'animator = "NAME" under [roles], a name of a [models.NAME] table or "ollama:NAME"',
    "reflector": 'reflector = "NAME" under [roles], a name of a [models.NAME] table or "ollama:NAME"',
    "kind": 'kind = "embedded", kind = "ollama" or kind = "openai"',
    "endpoint": 'endpoint = "embedded"',
    "model": 'model = "qwen2.5-coder:1.5b"',
}


def _quoted(key: str) -> str:
    """A key as TOML writes it."""
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else f'"{key}"'


def _key(location: tuple[str | int, ...]) -> str:
    """A key as the file has it: [models.big] num_ctx."""
    parts = [_quoted(str(part)) for part in location]
    depth, _ = _TABLES.get(parts[0], _TABLES[""])
    table = f"[{'.'.join(parts[:depth])}]" if depth else ""
    return " ".join(filter(None, (table, ".".join(parts[depth:]))))


def _explain(error: ValidationError, path: Path) -> ConfigError:
    """The first problem of the file, an unknown key before the missing one that it may be meant for."""
    problems = error.errors()
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    location, value = problem["loc"], problem["input"]
    name, where = str(location[-1]), f"{path}: {_key(location)}"
    value = without_secret(value) if isinstance(value, str) else value
    what, remedy = f"{where} = {value!r}: {problem['msg'].removeprefix('Value error, ')}", "correct the value"
    if problem["type"] == "extra_forbidden":
        known = _TABLES["" if len(location) == 1 else str(location[0])][1].model_fields
        what, remedy = f"{path}: unknown key {_key(location)}", nearest(name, known)
        if _RENAMED.get(name) in known:
            what, remedy = f"{where} is called {_RENAMED[name]} now", f"write {_RENAMED[name]} = ... there"
    elif problem["type"] == "missing":
        what, remedy = f"{where} is missing", f"add it: {_EXAMPLES.get(name, name)}"
    elif problem["type"] in ("model_type", "dict_type"):
        what = f"{where} = {value!r}: must be a table"
    elif name == "url" and isinstance(value, list):
        what, remedy = f"{where} = {value!r}: must be one address, not a list", _PROXY
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ConfigError(what + more, remedy, code="E-CONFIG-KEY")


#: Nobody writes a larger one by hand.
_MAX_BYTES = 2**20

#: Before the name of any model that a running Ollama has: a model that needs no table.
OLLAMA_PREFIX = "ollama:"
#: The address of that Ollama when the file has no [endpoints.ollama].
OLLAMA_URL = "http://127.0.0.1:11434"


class ModelsFile:
    """A checked models.toml."""

    def __init__(self, path: Path, text: str, data: ModelsToml) -> None:
        self.path = path
        self.text = text
        self._data = data
        self.offline = data.offline
        """True: download nothing. None: missing weights may be downloaded. False: refuse no connection."""

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The addresses of other machines that localgif may connect to."""
        return tuple(end.url for end in self._data.endpoints.values() if end.allow_remote and end.url)

    @property
    def keys(self) -> tuple[str, ...]:
        """The variables that hold keys of servers."""
        return tuple(end.api_key_env for end in self._data.endpoints.values() if end.api_key_env)

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names under [models], in the file's order."""
        return tuple(self._data.models)

    def named(self, role: Role) -> str:
        """The name that [roles] gives a role."""
        return str(getattr(self._data.roles, role))

    def endpoints(self, kind: EndpointKind) -> tuple[EndpointSettings, ...]:
        """The complete endpoints of a kind, in the file's order."""
        return tuple(
            self._endpoint_settings(name, endpoint)
            for name, endpoint in self._data.endpoints.items()
            if endpoint.kind == kind and (kind == "embedded" or endpoint.url)
        )

    def role(self, role: Role, alias: str | None = None, said: str = "") -> ModelSettings:
        """The settings of a role, with the model that [roles] names or another one.

        Args:
            alias: A name under [models], or "ollama:" and the name of a model that a running Ollama has.
            said: How the user named the alias, for messages; by default the flag --animator or --reflector.

        Raises:
            ConfigError: the alias, or the endpoint that it names, is not in the file.
        """
        chosen = alias or self.named(role)
        place = (said or f"--{role}") if alias else f"{self.path}: [roles] {role}"
        model = self._data.models.get(chosen)
        if model is None and chosen.startswith(OLLAMA_PREFIX):
            model = self._of_ollama(place, chosen)
        if model is None:
            what = f'{place} names the model "{chosen}", which {self.path} does not have'
            raise ConfigError(what, self._instead(chosen), code="E-CONFIG-NAME")
        return self._settings(role, chosen, model)

    def _wrong(self, location: tuple[str, ...], what: str, remedy: str, code: str = "E-CONFIG-KEY") -> ConfigError:
        return ConfigError(f"{self.path}: {_key(location)}{what}", remedy, code=code)

    def _of_ollama(self, place: str, alias: str) -> ModelTable:
        """The table for a model of an Ollama that has none in the file."""
        name = alias.removeprefix(OLLAMA_PREFIX)
        endpoint = self._data.endpoints.get("ollama")
        if endpoint is not None and endpoint.kind != "ollama":
            raise ConfigError(
                f'{place}: "{alias}" needs an Ollama, but [endpoints.ollama] has the kind "{endpoint.kind}"',
                f"give the model a table of its own: [models.{_quoted(name or 'NAME')}]",
            )
        if not name:
            raise ConfigError(f'{place}: "{alias}" names no model', "write its name, such as ollama:llama3.2:3b")
        return ModelTable(endpoint="ollama", model=name)

    def _instead(self, chosen: str) -> str:
        """The remedy for a name that the file does not have."""
        same = [alias for alias, model in self._data.models.items() if model.model == chosen]
        if same:
            return f'that model is called "{same[0]}" here'
        hint = f"add a table [models.{_quoted(chosen)}], or, if an Ollama has it, name it {OLLAMA_PREFIX}{chosen}"
        return f"{nearest(chosen, self._data.models)}; or {hint}" if self._data.models else hint

    def _endpoint(self, alias: str, model: ModelTable) -> EndpointTable:
        if model.endpoint in self._data.endpoints:
            return self._data.endpoints[model.endpoint]
        if alias not in self._data.models:
            return EndpointTable(kind="ollama", url=OLLAMA_URL)
        raise self._wrong(
            ("models", alias, "endpoint"),
            f' names "{model.endpoint}", which is not under [endpoints]',
            nearest(model.endpoint, self._data.endpoints),
            "E-CONFIG-NAME",
        )

    def _endpoint_settings(self, name: str, endpoint: EndpointTable) -> EndpointSettings:
        return EndpointSettings(name=name, cloud=self.offline is False, **endpoint.model_dump())

    def _settings(self, role: Role, alias: str, model: ModelTable) -> ModelSettings:
        endpoint = self._endpoint(alias, model)
        self._check_endpoint(model.endpoint, endpoint)
        self._check_model(alias, model, endpoint)
        return ModelSettings(
            **model.model_dump(include=set(Model.model_fields)),
            role=role,
            alias=alias,
            endpoint=self._endpoint_settings(model.endpoint, endpoint),
            temperature=ROLE_TEMPERATURE[role] if model.temperature is None else model.temperature,
            path=self._file(model.gguf) if model.gguf is not None else None,
            litellm=model.litellm or f"ollama/{model.model}",
        )

    def _check_endpoint(self, name: str, endpoint: EndpointTable) -> None:
        where = ("endpoints", name)
        if endpoint.kind != "embedded" and not endpoint.url:
            example = OLLAMA_URL if endpoint.kind == "ollama" else "http://127.0.0.1:8000/v1"
            raise self._wrong(where, " has no url", f'add a line such as url = "{example}"')
        if endpoint.url and not endpoint.allow_remote and not is_here(endpoint.url):
            raise self._wrong(
                (*where, "url"),
                f" = {endpoint.url} is not on this machine",
                "write 127.0.0.1 if it is; otherwise, if prompts and programs may go there: allow_remote = true",
                "E-CONFIG-REMOTE",
            )
        if endpoint.url and endpoint.url.startswith("https:") and (wrong := unusable_certificates()):
            raise self._wrong(
                (*where, "url"),
                f" = {endpoint.url} needs certificates, but the variable {wrong[0]} names none that can be read",
                f"unset {wrong[0]}, or let it name a file of certificates (PEM)",
            )
        if endpoint.kind != "openai" and endpoint.api_key_env is not None:
            what = f' is for an endpoint of kind openai, not "{endpoint.kind}"'
            raise self._wrong((*where, "api_key_env"), what, "remove the line")

    def _check_model(self, alias: str, model: ModelTable, endpoint: EndpointTable) -> None:
        where = ("models", alias)
        if model.vision and endpoint.kind == "embedded":
            raise self._wrong(
                (*where, "vision"),
                f' = true, but "{model.endpoint}" is embedded, and the embedded engine cannot look at pictures',
                'remove the line, or give the model an endpoint of kind "ollama" that has it with vision',
            )
        if model.gguf is not None and endpoint.kind != "embedded":
            raise self._wrong(
                (*where, "gguf"),
                f' is a file, but the endpoint "{model.endpoint}" of kind "{endpoint.kind}" has its own models',
                "remove the line, or give the model an endpoint of kind embedded",
            )
        if model.num_predict >= model.num_ctx:
            raise self._wrong(
                where,
                f": num_predict ({model.num_predict}) leaves no room for a prompt in num_ctx ({model.num_ctx})",
                "lower num_predict or raise num_ctx",
            )

    def _file(self, name: str) -> str:
        """A path as the file writes it: relative ones begin at its folder."""
        if "\0" in name:
            raise ConfigError(f"{self.path}: gguf = {name!r} cannot be a path", "correct it", code="E-CONFIG-KEY")
        written = Path(name)
        with contextlib.suppress(RuntimeError):  # "~" of a user without a home folder
            written = written.expanduser()
        return str(self.path.parent / written)


def load_models_file(path: Path = Path("models.toml")) -> ModelsFile:
    """Read and check models.toml.

    Raises:
        ConfigError: missing, unreadable, not TOML, an unknown key, a wrong type, a missing role.
    """
    there = True
    with contextlib.suppress(OSError):  # reading it says what is wrong
        there = path.exists()
    if not there:
        raise ConfigError(
            f"{path} is not here ({Path.cwd()})",
            "run localgif in the folder of models.toml, or name the file: --models FILE",
            code="E-CONFIG-FILE",
        )
    return read_models(path, read_input_text(path, _MAX_BYTES, "a models file", "E-CONFIG-FILE"))


def read_models(path: Path, text: str) -> ModelsFile:
    """Check the text of models.toml. Raises ConfigError as load_models_file does."""
    try:
        return ModelsFile(path, text, ModelsToml.model_validate(parse_toml(text, str(path), "E-CONFIG-FILE")))
    except ValidationError as error:
        raise _explain(error, path) from None


def make_settings(
    models: ModelsFile, *, animator: str | None = None, reflector: str | None = None, **values: Any
) -> Settings:
    """Settings of a run from models.toml and flags.

    Args:
        animator, reflector: Names of other models than [roles] has.
        values: The other fields of Settings; what is left out or None gets the default of its mode.

    Raises:
        ConfigError: an unknown model or choice (with the nearest known one), or a number out of range.
    """
    roles = {"animator": models.role("animator", animator), "reflector": models.role("reflector", reflector)}
    return settings.checked({**values, **roles})


def changed_settings(stored: Settings, models: ModelsFile, changes: Mapping[str, Any]) -> Settings:
    """The settings of a stored run with the models as models.toml has them today, and with `changes`: a field and its
    other value, or "animator" or "reflector" and the name of another model.

    Raises:
        ConfigError: a setting that a fork cannot change, or as make_settings.
    """
    for name in changes:
        if not FIELDS[name].fork:
            raise ConfigError(f"{FIELDS[name].flag} cannot change in a fork", "start a new run: localgif optimize")
    aliases = {"animator": stored.animator.alias, "reflector": stored.reflector.alias}
    return make_settings(models, **{**dict(stored), **aliases, **changes})


class Change(NamedTuple):
    """A file in which one line is another one."""

    text: str
    """The whole file, as it will be."""
    line: int
    """Which line, from 1; 0 when nothing changes."""
    before: str
    after: str


def with_role(file: ModelsFile, role: Role, name: str) -> Change:
    """The text of models.toml with another model in a role; the caller has checked the name, and writes the file.

    Raises:
        ConfigError: more than that line would change, as with roles written in a way that tomlkit rewrites.
    """
    import tomlkit

    document = tomlkit.parse(file.text)
    document["roles"][role] = name
    text = tomlkit.dumps(document)
    wanted = tomllib.loads(file.text)
    wanted["roles"][role] = name
    before, after = file.text.split("\n"), text.split("\n")
    other = [number for number, lines in enumerate(zip(before, after, strict=False)) if lines[0] != lines[1]]
    if len(before) != len(after) or len(other) > 1 or tomllib.loads(text) != wanted:
        raise ConfigError(
            f"{file.path}: roles.{role} is written in a way that cannot be changed without touching other lines",
            f'change it by hand: {role} = "{name}" under [roles]',
        )
    read_models(file.path, text)
    if not other:
        return Change(text, 0, "", "")
    number = other[0]
    return Change(text, number + 1, before[number].rstrip("\r"), after[number].rstrip("\r"))
