"""models.toml + flags -> frozen Settings. The only reader of TOML settings."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from localgif.addresses import is_here
from localgif.errors import ConfigError, ModelsFileUnreadable, ModelsFileWrong
from localgif.mistakes import explain, quoted
from localgif.mistakes import nearest as nearest  # for whoever names a choice of the user's
from localgif.models_toml import EndpointKind as EndpointKind
from localgif.models_toml import EndpointTable, ModelsToml, ModelTable, RolesTable
from localgif.models_toml import Role as Role
from localgif.modes import Mode
from localgif.records import Limits, Record
from localgif.toml_lines import Location, key_lines, line_of

MODELS_FILE = Path("models.toml")

#: Before the name of any model that a running Ollama has: a model that needs no table.
OLLAMA_PREFIX = "ollama:"
#: Where it is asked for when the file has no [endpoints.ollama].
OLLAMA_URL = "http://127.0.0.1:11434"

#: Used where models.toml sets none: the article's 0.2 makes the score reflect the prompt, not the dice; a reflector
#: that always gives the same answer to the same prompt proposes nothing new.
ROLE_TEMPERATURE: dict[Role, float] = {"animator": 0.2, "reflector": 0.7}


class EndpointSettings(Record):
    """Where a model runs."""

    name: str
    kind: EndpointKind
    url: str | None
    """None for the embedded endpoint, which picks a free port at start; of kind "openai" with `/v1` at its end."""
    api_key_env: str | None = None
    """Name of the environment variable with the key; the key itself is stored nowhere."""
    allow_remote: bool = False
    """Whether the address may be another machine's."""
    cloud: bool = False
    """Whether a model may be used that its server has computed by somebody else; only with offline = false."""

    @model_validator(mode="before")
    @classmethod
    def _without_retired_keys(cls, stored: Any) -> Any:
        """Runs of earlier versions store `urls` and `slots`, for several servers behind one name."""
        if isinstance(stored, dict):
            return {key: value for key, value in stored.items() if key not in ("urls", "slots")}
        return stored


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
    think: bool = False
    """Whether the model may think before it answers."""

    @property
    def abilities(self) -> tuple[str, ...]:
        """What the model must be able to do beside writing, by the key of models.toml that says so."""
        sees = self.vision and self.role == "reflector"
        return (("vision",) if sees else ()) + (("think",) if self.think else ())


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
    reflection: Literal["grounded", "example-only", "instruction-only", "plain", "none"] = "grounded"
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
        """What grounded reflection may change; nothing for plain reflection and for none, which have no moves."""
        if self.reflection == "example-only":
            return ("example",)
        if self.reflection == "instruction-only":
            return ("instruction",)
        return ("example", "instruction") if self.reflection == "grounded" else ()


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
