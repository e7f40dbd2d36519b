"""models.toml: its schema, its messages, its models and endpoints, and the change of one line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from localgif.errors import ConfigError, ModelsFileUnreadable, ModelsFileWrong, nearest, quoted
from localgif.offline import is_here, server_url
from localgif.settings import (
    DEFAULTS,
    ROLE_TEMPERATURE,
    EndpointKind,
    EndpointSettings,
    ModelSettings,
    Role,
    Settings,
)

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


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


#: Keys from the top, e.g. ("models", "small", "num_ctx"); a number is a place in an array.
Location = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")

_SPACE = re.compile(r"[ \t]*")

_BARE = re.compile(r"[A-Za-z0-9_-]+")

#: A quote inside a long string is one that does not begin three of them; up to two more may stand before the end.
_STRINGS = (
    ('"""', re.compile(r'"""(?:\\.|[^"\\]|"(?!""))*"""(?:"{0,2})', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']|'(?!''))*'''(?:'{0,2})", re.DOTALL)),
    ('"', re.compile(r'"(?:\\.|[^"\\])*"')),
    ("'", re.compile(r"'[^']*'")),
)

_SCALAR = re.compile(r"[^,\]}#\r\n]*")


def key_lines(text: str) -> dict[Location, int]:
    """The line (from 1) where each table, key and array element stands first, by its location."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.lines


def line_of(lines: Mapping[Location, int], location: Location) -> int | None:
    """The line of a key, else of the nearest table around it; None when that is the whole file."""
    for length in range(len(location), 0, -1):
        if location[:length] in lines:
            return lines[location[:length]]
    return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Location, int] = {}
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def scan(self) -> None:
        table: Location = ()
        while self._skip(_BLANK):
            start = self._at
            if self._text[start] == "[":
                brackets = 2 if self._text.startswith("[[", start) else 1
                self._at += brackets
                table = self._key((), start)
                self._at += brackets
            else:
                self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Go behind what matches here; whether anything is left."""
        found = pattern.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._at < len(self._text)

    def _note(self, location: Location, place: int) -> None:
        self.lines.setdefault(location, bisect_left(self._breaks, place) + 1)

    def _pair(self, table: Location) -> None:
        location = self._key(table, self._at)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(location)

    def _key(self, table: Location, place: int) -> Location:
        """Read a key, dotted or not, up to what follows it; each of its parts is noted at `place`."""
        location = table
        while True:
            self._skip(_SPACE)
            location = (*location, self._part())
            self._note(location, place)
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return location
            self._at += 1

    def _part(self) -> str:
        start = self._at
        if self._text[start] not in "\"'":
            self._skip(_BARE)
            return self._text[start : self._at]
        self._string()
        name = tomllib.loads(f"name = {self._text[start : self._at]}")["name"]
        assert isinstance(name, str)
        return name

    def _string(self) -> None:
        self._skip(next(pattern for quote, pattern in _STRINGS if self._text.startswith(quote, self._at)))

    def _value(self, location: Location) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._string()
        elif first in "[{":
            self._at += 1
            self._entries(location, "]" if first == "[" else "}")
        else:
            self._skip(_SCALAR)

    def _entries(self, location: Location, end: str) -> None:
        """What is between the brackets of an array or an inline table, and the closing one."""
        number = 0
        while self._skip(_BLANK) and self._text[self._at] != end:
            if end == "]":
                self._note((*location, number), self._at)
                self._value((*location, number))
            else:
                self._pair(location)
            number += 1
            self._skip(_BLANK)
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1


#: Keys of earlier versions -> what they are called now.
_RENAMED = {"path": "gguf"}

_PROXY = "for several servers put a reverse proxy such as nginx or HAProxy in front and name its address"

#: What pydantic calls a value where a table should be.
_NO_TABLE = ("model_type", "dict_type")


def explain(
    error: ValidationError, place: Callable[[Location], str], keys: Mapping[str, Collection[str]]
) -> tuple[str, str]:
    """(message, remedy) of the first problem, with its place and the key's full name.

    Args:
        error: What pydantic says of the file.
        place: File and line of a key.
        keys: Name of a top-level table -> keys of the tables in it; "" -> the top-level keys.
    """
    problem = _first(error)
    location = problem["loc"]
    key = ".".join(quoted(str(part)) for part in location)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = place(location)
    if problem["type"] == "extra_forbidden":
        name = str(location[-1])
        known = keys["" if len(location) == 1 else str(location[0])]
        if _RENAMED.get(name) in known:
            return f"{where}: {key} is called {_RENAMED[name]} now{more}", f"write {_RENAMED[name]} = ... there"
        return f"{where}: unknown key {key}{more}", nearest(name, known)
    if problem["type"] == "missing":
        return f"{where}: {key} is missing{more}", f"add it: {_example(location)}"
    value: Any = problem["input"]
    if location[-1] == "url" and isinstance(value, list):
        return f"{where}: {key} = {value!r}: must be one address, not a list{more}", _PROXY
    message = "must be a table" if problem["type"] in _NO_TABLE else problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key} = {value!r}: {message}{more}", "correct the value"


def _first(error: ValidationError) -> ErrorDetails:
    """The problem to tell: an unknown key before the missing one that it may be meant for."""
    problems = error.errors()
    return next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])


def _example(location: Location) -> str:
    examples = {
        "roles": '[roles] with animator = "..." and reflector = "..."',
        "animator": 'animator = "NAME" under [roles], a name of a [models.NAME] table or "ollama:NAME"',
        "reflector": 'reflector = "NAME" under [roles], a name of a [models.NAME] table or "ollama:NAME"',
        "kind": 'kind = "embedded", kind = "ollama" or kind = "openai"',
        "endpoint": 'endpoint = "embedded"',
        "model": 'model = "qwen2.5-coder:1.5b"',
    }
    return examples.get(str(location[-1]), str(location[-1]))


MODELS_FILE = Path("models.toml")

#: Before the name of any model that a running Ollama has: a model that needs no table.
OLLAMA_PREFIX = "ollama:"

#: Where it is asked for when the file has no [endpoints.ollama].
OLLAMA_URL = "http://127.0.0.1:11434"


class ModelsFile:
    """A checked models.toml."""

    def __init__(self, path: Path, text: str, data: ModelsToml, lines: Mapping[Location, int]) -> None:
        self.path = path
        self.text = text
        self._data = data
        self._lines = lines
        #: True: nothing is fetched either. None (not written): weights that are missing may be. False: no guard.
        self.offline = data.offline

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The addresses that are not on this machine and may be reached."""
        return tuple(end.url for end in self._data.endpoints.values() if end.allow_remote and end.url)

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names under [models], in the file's order."""
        return tuple(self._data.models)

    def named(self, role: Role) -> str:
        """What [roles] says."""
        return str(getattr(self._data.roles, role))

    def endpoints(self, kind: EndpointKind) -> tuple[EndpointSettings, ...]:
        """The endpoints of a kind that have all that they need, in the file's order."""
        return tuple(
            self._endpoint_settings(name, endpoint)
            for name, endpoint in self._data.endpoints.items()
            if endpoint.kind == kind and (kind == "embedded" or endpoint.url)
        )

    def role(self, role: Role, alias: str | None = None, said: str = "") -> ModelSettings:
        """The settings of a role, optionally with another model than [roles] names.

        Args:
            role: Which.
            alias: A name under [models], or "ollama:" and the name of a model that a running Ollama has.
            said: How the user named the alias, for messages; by default the flag --animator or --reflector.

        Raises:
            ConfigError: the alias, or the endpoint that it names, is not in the file.
        """
        chosen = alias or self.named(role)
        place = (said or f"--{role}") if alias else f"{self._place(('roles', role))}: roles.{role}"
        model = self._data.models.get(chosen)
        if model is None and chosen.startswith(OLLAMA_PREFIX):
            model = self._of_ollama(place, chosen)
        if model is None:
            raise ConfigError(
                f'{place} names the model "{chosen}", which {self.path} does not have',
                self._instead(chosen),
                code="E-CONFIG-NAME",
            )
        return self._settings(role, chosen, model)

    def _place(self, location: Location) -> str:
        return _place(self.path, self._lines, location)

    def _wrong(self, location: Location, what: str, remedy: str, code: str | None = None) -> ConfigError:
        """A key, named with its place, and what is wrong with it."""
        key = ".".join(quoted(str(part)) for part in location)
        return ModelsFileWrong(f"{self._place(location)}: {key}{what}", remedy, code=code)

    def _of_ollama(self, place: str, alias: str) -> ModelTable:
        """The table that a model without one would have."""
        name = alias.removeprefix(OLLAMA_PREFIX)
        endpoint = self._data.endpoints.get("ollama")
        if endpoint is not None and endpoint.kind != "ollama":
            raise ConfigError(
                f'{place}: "{alias}" is for the endpoint "ollama", which {self._place(("endpoints", "ollama"))} gives '
                f'the kind "{endpoint.kind}"',
                f"give the model a table of its own: [models.{quoted(name or 'NAME')}]",
            )
        if not name:
            raise ConfigError(f'{place}: "{alias}" names no model', "write its name, such as ollama:llama3.2:3b")
        return ModelTable(endpoint="ollama", model=name)

    def _instead(self, chosen: str) -> str:
        """What a name that is none may have been meant for."""
        same = [alias for alias, model in self._data.models.items() if model.model == chosen]
        if same:
            return f'that model is called "{same[0]}" here'
        hint = f"add a table [models.{quoted(chosen)}], or, if an Ollama has it, name it {OLLAMA_PREFIX}{chosen}"
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
            code="E-CONFIG-NAME",
        )

    def _endpoint_settings(self, name: str, endpoint: EndpointTable) -> EndpointSettings:
        return EndpointSettings(name=name, cloud=self.offline is False, **endpoint.model_dump())

    def _settings(self, role: Role, alias: str, model: ModelTable) -> ModelSettings:
        endpoint = self._endpoint(alias, model)
        where = ("endpoints", model.endpoint)
        if endpoint.kind != "embedded" and not endpoint.url:
            example = OLLAMA_URL if endpoint.kind == "ollama" else "http://127.0.0.1:8000/v1"
            raise self._wrong(where, " has no url", f'add a line such as url = "{example}"')
        if endpoint.url and not endpoint.allow_remote and not is_here(endpoint.url):
            raise self._wrong(
                (*where, "url"),
                f" = {endpoint.url} is not on this machine",
                "write 127.0.0.1 if it is; else, when prompts and programs may go there: allow_remote = true",
                code="E-CONFIG-REMOTE",
            )
        if endpoint.kind != "openai" and endpoint.api_key_env is not None:
            what = f' is for an endpoint of kind openai, not "{endpoint.kind}"'
            raise self._wrong((*where, "api_key_env"), what, "remove the line")
        if model.vision and endpoint.kind == "embedded":
            raise self._wrong(
                ("models", alias, "vision"),
                f' = true, but the endpoint "{model.endpoint}" is embedded, and the embedded engine cannot look at '
                "pictures",
                'remove the line, or give the model an endpoint of kind "ollama" that has it with vision',
            )
        if model.gguf is not None and endpoint.kind != "embedded":
            raise self._wrong(
                ("models", alias, "gguf"),
                f' is a file, but the endpoint "{model.endpoint}" is of kind "{endpoint.kind}" and has models of its '
                "own",
                "remove the line, or give the model an endpoint of kind embedded",
            )
        if model.num_predict >= model.num_ctx:
            raise self._wrong(
                ("models", alias),
                f": num_predict ({model.num_predict}) leaves no room for a prompt in num_ctx ({model.num_ctx})",
                "lower num_predict or raise num_ctx",
            )
        return ModelSettings(
            role=role,
            alias=alias,
            endpoint=self._endpoint_settings(model.endpoint, endpoint),
            model=model.model,
            num_ctx=model.num_ctx,
            num_predict=model.num_predict,
            temperature=ROLE_TEMPERATURE[role] if model.temperature is None else model.temperature,
            path=self._file(model.gguf) if model.gguf is not None else None,
            litellm=model.litellm or f"ollama/{model.model}",
            vision=model.vision,
            think=model.think,
        )

    def _file(self, name: str) -> str:
        """A path as it is written in the file: relative ones begin at its folder."""
        written = Path(name)
        with contextlib.suppress(RuntimeError):  # "~" of a user without a home folder
            written = written.expanduser()
        return str(self.path.parent / written)


def load_models_file(path: Path = MODELS_FILE) -> ModelsFile:
    """Read and check models.toml.

    Raises:
        ConfigError: missing, unreadable, no TOML, an unknown key, a wrong type, a missing role.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ModelsFileUnreadable(
            f"{path} is not here ({Path.cwd()})", "run localgif where models.toml lies, or name the file: --models FILE"
        ) from None
    except OSError as error:
        raise ModelsFileUnreadable(
            f"{path} cannot be read: {error.strerror or error}", "check the file's permissions"
        ) from None
    try:
        return read_models(path, raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ModelsFileUnreadable(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8") from None


def read_models(path: Path, text: str) -> ModelsFile:
    """Check the text of models.toml.

    Raises:
        ConfigError: as load_models_file.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        place = line[1] if line else str(1 + text.rstrip().count("\n"))
        raise ModelsFileUnreadable(f"{path}:{place}: this is not valid TOML: {error}", "correct that line") from None
    lines = key_lines(text)
    try:
        return ModelsFile(path, text, ModelsToml.model_validate(data), lines)
    except ValidationError as error:
        keys = {
            "": ModelsToml.model_fields,
            "roles": RolesTable.model_fields,
            "endpoints": EndpointTable.model_fields,
            "models": ModelTable.model_fields,
        }
        raise ModelsFileWrong(*explain(error, lambda location: _place(path, lines, location), keys)) from None


def _place(path: Path, lines: Mapping[Location, int], location: Location) -> str:
    """File and line of a key, as an editor can open it."""
    line = line_of(lines, location)
    return f"{path}:{line}" if line else str(path)


#: What this version offers where the command line names a choice.
_CHOICES = {
    "mode": tuple(DEFAULTS),
    "reflection": ("grounded", "example-only", "instruction-only", "plain", "none"),
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


def moved(settings: Settings, at: Mapping[str, str]) -> Settings:
    """The same settings with other servers behind some endpoints.

    Args:
        settings: Of a run.
        at: Name of an endpoint -> address of the one server that is asked in place of its own.
    """

    def there(model: ModelSettings) -> ModelSettings:
        url = at.get(model.endpoint.name)
        if url is None:
            return model
        return model.model_copy(update={"endpoint": model.endpoint.model_copy(update={"url": url})})

    return settings.model_copy(update={"animator": there(settings.animator), "reflector": there(settings.reflector)})


class Change(NamedTuple):
    """A file in which one line is another one."""

    text: str
    """The whole file, as it will be."""
    line: int
    """Which line, from 1; 0 when nothing changes."""
    before: str
    after: str


def with_role(file: ModelsFile, role: Role, name: str) -> Change:
    """The text of models.toml with another model in a role; nothing is written.

    Args:
        file: As it was read.
        role: Whose line is changed.
        name: What [roles] is to name: checked by the caller.

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


def replace_file(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old text or the new one. Permissions stay, and a link stays a link.

    Raises:
        ConfigError: it cannot be written; the old file is untouched.
    """
    real = path.resolve()
    try:
        handle, temporary = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            shutil.copymode(real, temporary)
            Path(temporary).replace(real)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be changed: {error.strerror or error}", "check the permissions of the file and its folder"
        ) from None
