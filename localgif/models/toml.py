"""models.toml: where it is, its schema, its error messages, its models and endpoints, and an edit of one line."""

from __future__ import annotations

import contextlib
import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from localgif import settings
from localgif.errors import ConfigError, nearest
from localgif.files import is_file, parse_toml, read_input_text
from localgif.models.catalog import canonical, lookup
from localgif.offline import (
    OLLAMA_URL,
    config_folder,
    is_here,
    named_models_file,
    ollama_url,
    server_url,
    unusable_certificates,
    without_secret,
)
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
    """Writes the programs: the name of a [models.NAME] table, or a model's own name, such as "qwen2.5-coder:7b" for the
    model of a running Ollama. "ollama:NAME" always means a model of an Ollama."""
    reflector: str
    """Rewrites the animator's prompt: the name of a model as above."""


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
    """Default: 0.2 for the animator, 0.7 for the reflector."""
    gguf: str | None = Field(None, min_length=1)
    """Your own GGUF file, for an embedded endpoint; a relative path begins at the folder of this file."""
    litellm: str | None = None
    """The reflector's LiteLLM string. Default: "ollama/" and the model's name."""

    @field_validator("litellm")
    @classmethod
    def _ollama_string(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("ollama/", "ollama_chat/")):
            raise ValueError('must begin with "ollama/" or "ollama_chat/"')
        return value


class ModelsToml(_Table):
    """models.toml: which local model plays which role, and where it runs."""

    offline: bool | None = None
    """True: localgif downloads nothing, not even weights. False: it refuses no connection. Default: localgif may
    download missing weights, and connects only to loopback and to the endpoints of this file."""
    roles: RolesTable
    endpoints: dict[str, EndpointTable] = {}
    """Where models run, by name."""
    models: dict[str, ModelTable] = {}
    """Models that a role can name."""


#: The tables of the file: how many keys lead to one, and its schema; "" is the file itself.
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
    "animator": 'animator = "NAME" under [roles], the name of a [models.NAME] table or of a model',
    "reflector": 'reflector = "NAME" under [roles], the name of a [models.NAME] table or of a model',
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


#: Largest file that is read; people write far smaller ones.
_MAX_BYTES = 2**20

#: Stands before the name of a model of a running Ollama, which needs no table. Other tools use the other prefixes.
OLLAMA_PREFIX = "ollama:"
_OLLAMA_PREFIXES = (OLLAMA_PREFIX, "ollama/", "ollama_chat/")


def of_ollama(name: str) -> bool:
    """Whether a name says that the model is an Ollama's."""
    return name.startswith(_OLLAMA_PREFIXES)


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
        ends = (self._addressed(end) for end in self._data.endpoints.values() if end.allow_remote)
        return tuple(end.url for end in ends if end.url)

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
        found = (self._endpoint_settings(name, each) for name, each in self._data.endpoints.items())
        return tuple(each for each in found if each.kind == kind and (kind == "embedded" or each.url))

    def role(self, role: Role, name: str | None = None, said: str = "") -> ModelSettings:
        """The settings of a role, with the model that [roles] names or another one.

        Args:
            name: The name of a table, or of a model: "qwen2.5-coder:7b", "ollama:qwen2.5-coder:7b".
            said: How the user gave the name, for messages; by default the flag --animator or --reflector.

        Raises:
            ConfigError: The name means no model or several, or the file does not have its endpoint.
        """
        chosen = name or self.named(role)
        return self._settings(
            role, *self._resolved((said or f"--{role}") if name else f"{self.path}: [roles] {role}", chosen)
        )

    def meaning(self, name: str) -> str:
        """A note on the meaning of a name that both the embedded endpoint and an Ollama may have; "" for any other.
        Raises ConfigError as `role` does."""
        if name in self._data.models or lookup(name) is None:
            return ""
        alias, _ = self._resolved("the name", name)
        which = "" if alias == name else f' ("{alias}" in {self.path.name})'
        return f'"{name}" means the embedded model{which}; "{OLLAMA_PREFIX}{name}" means the model of an Ollama'

    def _wrong(self, location: tuple[str, ...], what: str, remedy: str, code: str = "E-CONFIG-KEY") -> ConfigError:
        return ConfigError(f"{self.path}: {_key(location)}{what}", remedy, code=code)

    def _resolved(self, place: str, name: str) -> tuple[str, ModelTable]:
        """The alias and the table of a model, from any name that users give it.

        First a table's name, then "ollama:NAME" or "ollama/NAME", then a model's own name: known weights mean the
        embedded endpoint; any other name means the table that has it, else a model of an Ollama.
        """
        if name in self._data.models:
            return name, self._data.models[name]
        for prefix in _OLLAMA_PREFIXES:
            if name.startswith(prefix):
                return self._of_ollama(place, name, name.removeprefix(prefix))
        known = lookup(name)
        tables = {alias: each for alias, each in self._data.models.items() if canonical(each.model) == canonical(name)}
        preferred = {
            alias: each
            for alias, each in tables.items()
            if (self._kind(each) == "embedded" if known else each.endpoint == "ollama")
        }
        found = preferred if preferred or known else tables
        if len(found) > 1:
            forms = ", ".join(f'"{alias}" (on {each.endpoint})' for alias, each in found.items())
            what = f'{place} names the model "{name}", which several tables of {self.path} have: {forms}'
            raise ConfigError(what, f"name the table: {' or '.join(found)}", code="E-CONFIG-NAME")
        if found:
            return next(iter(found.items()))
        if known is not None:
            return known.name, ModelTable(endpoint=self._implied(place, name, "embedded"), model=known.name)
        if self._is_typo(name):
            what = f'{place} names the model "{name}", which {self.path} does not have'
            remedy = f"{nearest(name, self._data.models)}; a model of an Ollama is named {OLLAMA_PREFIX}{name}"
            raise ConfigError(what, remedy, code="E-CONFIG-NAME")
        return self._of_ollama(place, name, name)

    def _is_typo(self, name: str) -> bool:
        """Whether a name without a tag looks more like one of the tables than like a model of an Ollama."""
        return not {":", "/"} & set(name) and bool(difflib.get_close_matches(name, self._data.models, n=1, cutoff=0.7))

    def _kind(self, model: ModelTable) -> EndpointKind | None:
        endpoint = self._data.endpoints.get(model.endpoint)
        return endpoint.kind if endpoint is not None else None

    def _of_ollama(self, place: str, said: str, name: str) -> tuple[str, ModelTable]:
        """The alias and the table of a model of an Ollama that has none in the file."""
        if not name.strip():
            raise ConfigError(f'{place}: "{said}" names no model', "write its name, such as ollama:llama3.2:3b")
        return OLLAMA_PREFIX + name, ModelTable(endpoint=self._implied(place, said, "ollama"), model=name)

    def _implied(self, place: str, said: str, kind: EndpointKind) -> str:
        """The endpoint of a model without a table: it has its kind's name, and need not be in the file."""
        endpoint = self._data.endpoints.get(kind)
        if endpoint is not None and endpoint.kind != kind:
            needs = "an Ollama" if kind == "ollama" else "the embedded endpoint"
            raise ConfigError(
                f'{place}: "{said}" needs {needs}, but [endpoints.{kind}] has the kind "{endpoint.kind}"',
                f"give the model a table of its own: [models.{_quoted(said.removeprefix(OLLAMA_PREFIX))}]",
            )
        return kind

    def _endpoint(self, alias: str, model: ModelTable) -> EndpointTable:
        if model.endpoint in self._data.endpoints:
            return self._data.endpoints[model.endpoint]
        if alias not in self._data.models:
            return EndpointTable(kind="ollama" if model.endpoint == "ollama" else "embedded")
        raise self._wrong(
            ("models", alias, "endpoint"),
            f' names "{model.endpoint}", which is not under [endpoints]',
            nearest(model.endpoint, self._data.endpoints),
            "E-CONFIG-NAME",
        )

    def _addressed(self, endpoint: EndpointTable) -> EndpointTable:
        """The endpoint with its address: OLLAMA_HOST gives it for an Ollama without a url."""
        if endpoint.kind != "ollama" or endpoint.url:
            return endpoint
        url = ollama_url()
        try:
            return endpoint.model_copy(update={"url": server_url(url, openai=False)})
        except ValueError as error:
            raise ConfigError(
                f"OLLAMA_HOST = {without_secret(url)} {error}", "correct the variable, or unset it"
            ) from None

    def _endpoint_settings(self, name: str, endpoint: EndpointTable) -> EndpointSettings:
        return EndpointSettings(name=name, cloud=self.offline is False, **self._addressed(endpoint).model_dump())

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
        if endpoint.kind == "openai" and not endpoint.url:
            raise self._wrong(where, " has no url", 'add a line such as url = "http://127.0.0.1:8000/v1"')
        if endpoint.kind == "ollama" and not endpoint.url:
            endpoint = self._addressed(endpoint)
            if not endpoint.allow_remote and not is_here(endpoint.url or ""):
                raise ConfigError(
                    f"OLLAMA_HOST means {endpoint.url}, which is not on this machine",
                    f"unset OLLAMA_HOST to ask {OLLAMA_URL}; or, if prompts and programs may go there, write into "
                    f'{self.path}: [endpoints.{_quoted(name)}] with kind = "ollama" and allow_remote = true',
                    code="E-CONFIG-REMOTE",
                )
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
                f"unset {wrong[0]}, or set it to a file of certificates (PEM)",
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
        """A path of the file; a relative one begins at the file's folder."""
        if "\0" in name:
            raise ConfigError(f"{self.path}: gguf = {name!r} cannot be a path", "correct the path", code="E-CONFIG-KEY")
        written = Path(name)
        with contextlib.suppress(RuntimeError):  # "~" of a user without a home folder
            written = written.expanduser()
        return str(self.path.parent / written)


def load_models_file(path: Path | None = None) -> ModelsFile:
    """Read and check models.toml.

    Args:
        path: None for the one that models_file() finds.

    Raises:
        ConfigError: missing, unreadable, not TOML, an unknown key, a wrong type, a missing role.
    """
    path = path or models_file()
    there = True
    with contextlib.suppress(OSError):  # reading it says what is wrong
        there = path.exists()
    if not there:
        raise ConfigError(
            f"{path} does not exist",
            "name another file, or leave --models out to use the one that localgif finds (docs/models.md)",
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
        animator, reflector: Names of other models than [roles] has, as `ModelsFile.role` takes them.
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
    """The text of a file with at most one line changed."""

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


# --- where the file is ------------------------------------------------------------------------------------------------

MODELS_TOML = "models.toml"
#: Follows the path of the built-in file in messages.
BUILT_IN = " (built-in; create your own: localgif init)"


def models_file() -> Path:
    """The models.toml to use if the command line names none.

    The first of: what LOCALGIF_MODELS names; the file of this folder or of the nearest one above it; the user's own, in
    the folder for settings; the built-in one.

    Raises:
        ConfigError: LOCALGIF_MODELS names a file that does not exist.
    """
    named = named_models_file()
    if named is not None:
        if not named.exists():
            raise ConfigError(
                f"LOCALGIF_MODELS names {named}, which does not exist",
                "correct the variable, or unset it: unset LOCALGIF_MODELS",
                code="E-CONFIG-FILE",
            )
        return named
    project, own = _project(), config_folder()
    if project is not None:
        return project / MODELS_TOML
    if own is not None and is_file(own / MODELS_TOML):
        return own / MODELS_TOML
    return built_in()


def built_in() -> Path:
    """The models.toml that ships with localgif: in the package, or, in a checkout, beside it."""
    package = Path(__file__).parents[1]
    inside = package / MODELS_TOML
    return inside if inside.exists() else package.parent / MODELS_TOML


def runs_folder() -> Path:
    """The folder of runs: beside the models.toml of this folder or of the nearest one above, else in this folder."""
    return (_project() or Path()) / "runs"


def _project() -> Path | None:
    """This folder (as ""), or the nearest one above it, that has a models.toml; None if there is none.

    A file above this folder counts only if the user or root owns it: in a shared folder such as /tmp anybody could
    leave one, and it decides which server receives prompts.
    """
    if Path(MODELS_TOML).exists():
        return Path()
    try:
        above = Path.cwd().parents
    except OSError:  # this folder was removed
        return None
    return next((folder for folder in above if _is_ours(folder / MODELS_TOML)), None)


def _is_ours(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_uid in (os.getuid(), 0)
    except OSError:
        return False
