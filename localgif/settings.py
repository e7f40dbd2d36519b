"""The settings of a run. The annotated fields of Settings are the one table of them: the options of the command line,
the keys of a sweep file, the groups of a comparison, the report's command and docs/runs.md all follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from localgif.errors import ConfigError, nearest
from localgif.records import Limits, Record

Role = Literal["animator", "reflector"]
EndpointKind = Literal["embedded", "ollama", "openai"]

#: Used where models.toml sets none. The article's 0.2 makes the score reflect the prompt, not the dice. A reflector
#: that always gives the same answer to the same prompt would propose nothing new.
ROLE_TEMPERATURE: dict[Role, float] = {"animator": 0.2, "reflector": 0.7}


class Endpoint(Record):
    """Where models run."""

    # The docstrings are what an editor shows: they become the descriptions of docs/models.schema.json.
    model_config = ConfigDict(use_attribute_docstrings=True)

    kind: EndpointKind
    """What it is: llama.cpp inside localgif, a running Ollama, or (openai) vLLM, llama.cpp's own server, LM Studio."""
    url: str | None = None
    """Address of the server: without a path for Ollama, with /v1 for an OpenAI-compatible server."""
    api_key_env: str | None = Field(None, min_length=1)
    """Name of the environment variable that holds the key of a server of kind "openai"."""
    allow_remote: bool = False
    """Whether the address may be another machine's: it gets to read prompts and programs."""


class EndpointSettings(Endpoint):
    """An endpoint of a run. The embedded one has no url: it picks a free port when it starts."""

    name: str
    cloud: bool = False
    """Whether the server may have somebody else compute the model; only with offline = false."""

    @model_validator(mode="before")
    @classmethod
    def _without_retired_keys(cls, stored: Any) -> Any:
        """Runs of earlier versions store `urls` and `slots`, for several servers behind one name."""
        if isinstance(stored, dict):
            return {key: value for key, value in stored.items() if key not in ("urls", "slots")}
        return stored


class Model(Record):
    """What a request to a model needs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str = Field(min_length=1)
    """The name that the endpoint knows, e.g. "qwen2.5-coder:1.5b"."""
    num_ctx: int = Field(8192, ge=512, le=1_048_576)
    """Window in tokens, prompt and answer together."""
    num_predict: int = Field(1024, ge=16, le=65_536)
    """Longest answer in tokens."""
    vision: bool = False
    """Whether this model, as the reflector, is shown what was drawn."""
    think: bool = False
    """Whether it may think before it answers: its thoughts count into num_predict and are thrown away."""
    system: Literal["system", "user"] = "system"
    """Where instructions go: in a system message, or (user) at the head of the user's message, for a chat template that
    drops or refuses system messages."""


class ModelSettings(Model):
    """The model of one role."""

    role: Role
    alias: str
    """Its name in models.toml; for a model without a table its name in the catalogue, or "ollama:" and the name that
    an Ollama knows."""
    endpoint: EndpointSettings
    temperature: float = Field(ge=0, le=2)
    path: str | None
    """The GGUF file that models.toml names, if it names one."""
    litellm: str
    """The LiteLLM model string, e.g. "ollama/qwen2.5-coder:1.5b"."""

    @property
    def abilities(self) -> tuple[str, ...]:
        """What the model must be able to do besides writing, by the key of models.toml that asks for it."""
        sees = self.vision and self.role == "reflector"
        return (("vision",) if sees else ()) + (("think",) if self.think else ())


@dataclass(frozen=True)
class Setting:
    """One row of the table. A field of Settings is annotated with the first four; the rest follows from its type."""

    help: str
    """One or two sentences for --help and docs/runs.md."""
    by_mode: Mapping[str, Any] = field(default_factory=dict)
    """Mode -> its default, where it differs from the field's own."""
    fork: bool = False
    """Whether `localgif resume` takes it, for a fork."""
    bare: bool = False
    """Whether its value names a group without the setting's name: "plain" does, 12 does not."""
    name: str = ""
    type: Any = str
    """bool, int, float, str, or ModelSettings, which people give by name."""
    default: Any = None
    choices: tuple[str, ...] = ()
    limits: str = ""
    """Its range in words."""
    optional: bool = False
    """Whether it may be None."""

    @property
    def flag(self) -> str:
        """Its option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def none(self) -> str:
        """How the command line and sweep files write None; "" where leaving the setting out says it."""
        return "none" if self.optional and self.default is not None else ""

    @property
    def values(self) -> str:
        """What it may be, for messages and docs."""
        words = {bool: "true or false", int: "a whole number", float: "a number"}.get(self.type, "text")
        words = ", ".join(self.choices) or words + (f", {self.limits}" if self.limits else "")
        return words + (f', or "{self.none}"' if self.none else "")

    @property
    def default_words(self) -> str:
        """Its default for people, with the modes that have another one."""
        own = "as models.toml says" if self.type is ModelSettings else str(self.default).lower()
        return "; ".join([own, *(f"{mode} {value}" for mode, value in self.by_mode.items())])

    def fits(self, value: Any) -> bool:
        """Whether a value of a TOML file has the right type."""
        if self.none and value == self.none:
            return True
        if self.type is float:
            return type(value) in (int, float) and math.isfinite(value)
        return type(value) is (str if self.type is ModelSettings else self.type)

    def parsed(self, value: Any) -> Any:
        """A value of the command line or of a sweep file as Settings takes it; a ConfigError for a text that is neither
        a number nor "none"."""
        if not self.none or not isinstance(value, str):
            return value
        try:
            return None if value == self.none else float(value)
        except ValueError:
            raise ConfigError(f"{self.flag} {value} is not a number", f"give {self.values}") from None


#: The task of runs of mode "general" by earlier versions, which had one split; run.json holds its parts.
EARLIER_SPLIT = "shipped-split"
#: The article's score cannot exceed 0.992 with 24 frames in about a second, and the strict one is 1 at best: nobody
#: sees a difference beyond this.
TARGET = 0.985
#: A picture with this score, by the strict rule, shows what was asked.
ENOUGH = 0.97

Mode = Literal["single", "multi", "general"]
Split = Literal["briefs", "families", "own"]
Reflection = Literal["grounded", "example-only", "instruction-only", "plain", "none"]
Level = Literal["full", "seatbelt", "no-read-confinement", "weak", "limits-only"]


class Settings(Record):
    """Everything that decides a run. Stored whole in run.json."""

    animator: Annotated[
        ModelSettings, Setting("The model that writes the code: a name in models.toml, or its own name.", fork=True)
    ]
    reflector: Annotated[
        ModelSettings, Setting("The model that rewrites the prompt: a name in models.toml, or its own name.", fork=True)
    ]
    reflection: Annotated[
        Reflection,
        Setting(
            "How the prompt is improved. grounded takes small measured steps, with examples and rules or with one kind "
            "only; plain is GEPA's own reflection; none keeps the best of N samples.",
            bare=True,
        ),
    ] = "grounded"
    mode: Annotated[
        Mode,
        Setting(
            "single: one task. multi: one prompt for several tasks. general: learn from some tasks, test on others.",
            bare=True,
        ),
    ] = "single"
    task: Annotated[
        str,
        Setting(
            "A shipped task, the path of a TOML file, or a sentence; for multi several, separated by commas. general "
            "takes its tasks from --split.",
            {"multi": "bouncing-ball,spinning-square,pulsing-square,sliding-square"},
            bare=True,
        ),
    ] = "bouncing-ball"
    """Mode general: the name of the split, such as "split-families-2"."""
    split: Annotated[
        Split | None,
        Setting(
            "What general tests. briefs: new briefs of families that it trained on. families: a whole family that it "
            "did not train on. own: the lists --train, --val and --test, which imply it.",
            {"general": "briefs"},
        ),
    ] = None
    fold: Annotated[
        int | None, Setting("With --split families: the family to hold out, 1 if left out."), Field(ge=1)
    ] = None
    train: Annotated[str | None, Setting("A split of your own: tasks to learn from, separated by commas.")] = None
    val: Annotated[str | None, Setting("A split of your own: tasks that choose among candidates.")] = None
    test: Annotated[str | None, Setting("A split of your own: tasks that are drawn only at the end.")] = None
    facts: Annotated[bool, Setting("Give the reflector background facts about Pillow and GIFs.")] = True
    form: Annotated[
        bool,
        Setting("Search for programs in one form: drawing functions, then the request phrase by phrase."),
    ] = True
    target: Annotated[
        float | None,
        Setting('End when a re-test of the best prompt holds this score; "none" spends the whole budget.', fork=True),
        Field(gt=0, le=1),
    ] = TARGET
    scorer: Annotated[
        Literal["strict", "article"], Setting("The score to optimise, 0 to 1 (higher is better).", fork=True, bare=True)
    ] = "strict"
    metric_calls: Annotated[
        int,
        Setting("Budget: evaluations of a prompt on a task.", {"multi": 40, "general": 60}, fork=True),
        Field(ge=1, le=10_000),
    ] = 12
    # With several tasks, each already adds an independent observation, so one sample per task says more.
    samples: Annotated[int, Setting("Samples per metric call.", {"multi": 1, "general": 1}), Field(ge=1, le=64)] = 2
    fresh: Annotated[
        int,
        Setting(
            "Fresh samples of each tested task at the end, for the seed prompt and for the best one; fewer, but at "
            "least two, if the others cannot change the verdict.",
            fork=True,
        ),
        Field(ge=1, le=64),
    ] = 4
    transfer: Annotated[
        bool,
        Setting(
            "After a search on one task, ask both prompts once for two other shipped tasks, which shows whether a gain "
            "carries over. No part of the verdict.",
            fork=True,
        ),
    ] = True
    seed: Annotated[int, Setting("Seed of the search and of the models."), Field(ge=0, le=2**31 - 1)] = 0
    minutes: Annotated[
        float | None, Setting("Start no new proposal after this many minutes of work.", fork=True), Field(gt=0)
    ] = None
    sandbox_level: Annotated[Level, Setting("The weakest sandbox level to accept.", fork=True)] = "no-read-confinement"
    limits: Limits = Limits()

    @property
    def moves(self) -> tuple[Literal["example", "instruction"], ...]:
        """What grounded reflection may change; nothing for plain and none, which have no moves."""
        if self.reflection == "example-only":
            return ("example",)
        if self.reflection == "instruction-only":
            return ("instruction",)
        return ("example", "instruction") if self.reflection == "grounded" else ()


def fields_of(record: type[BaseModel]) -> dict[str, Setting]:
    """The table: name -> row, for each field of a record that is annotated with a Setting."""
    words = {"gt": "above", "ge": "at least", "le": "at most"}
    found = {}
    for name, info in record.model_fields.items():
        row = next((mark for mark in info.metadata if isinstance(mark, Setting)), None)
        if row is None:
            continue
        optional = type(None) in get_args(info.annotation)
        kind = get_args(info.annotation)[0] if optional else info.annotation
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        ranges = [f"{words[key]} {getattr(m, key):,}" for m in info.metadata for key in words if hasattr(m, key)]
        found[name] = replace(
            row,
            name=name,
            type=str if choices else kind,
            default=None if info.is_required() else info.default,
            choices=choices,
            limits=", ".join(ranges),
            optional=optional,
        )
    return found


#: The table of all settings that a user can choose, in the order of --help.
FIELDS: dict[str, Setting] = fields_of(Settings)
#: The settings with the parts of a split of the user's own.
LISTS = ("train", "val", "test")


def known(name: str, value: str) -> str:
    """`value`, if it is a choice of the setting; else a ConfigError that names the nearest one."""
    row = FIELDS[name]
    if value not in row.choices:
        what = name.replace("_", " ")
        raise ConfigError(f'{row.flag} {value}: there is no {what} "{value}"', nearest(str(value), row.choices))
    return value


def checked(values: Mapping[str, Any]) -> Settings:
    """Settings of these values; what is left out, or None where None says nothing, gets the default of its mode. An
    unknown setting or choice, or a number out of range, is a ConfigError that names the flag."""
    given = {name: v for name, v in values.items() if v is not None or (name in FIELDS and FIELDS[name].optional)}
    for name, value in given.items():
        if name in FIELDS and FIELDS[name].choices and value is not None:
            known(name, value)
    mode = given.get("mode", FIELDS["mode"].default)
    defaults = {name: row.by_mode[mode] for name, row in FIELDS.items() if mode in row.by_mode}
    try:
        return Settings(**{**defaults, **given, **_split(mode, given)})
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        if name not in FIELDS:
            raise ConfigError(f"there is no setting {name}", nearest(name, FIELDS)) from None
        remedy = f"give {FIELDS[name].values}"
        raise ConfigError(f"{FIELDS[name].flag} {problem['input']} cannot be used", remedy) from None


def _split(mode: Mode, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that follow from the choice of a split; a ConfigError for choices that do not go together."""
    said = [name for name in ("split", "fold", *LISTS) if given.get(name) is not None]
    if mode != "general":
        if said:
            flag = FIELDS[said[0]].flag
            raise ConfigError(f"{flag} is only for --mode general", f"add --mode general, or leave {flag} out")
        return {}
    if not said and given.get("task") == EARLIER_SPLIT:
        return {"split": None}
    lists = [name for name in said if name in LISTS]
    split = given["split"] if "split" in said else "own" if lists else FIELDS["split"].by_mode[mode]
    if split == "own" and len(lists) < len(LISTS):
        missing = next(FIELDS[name].flag for name in LISTS if name not in lists)
        raise ConfigError(
            f"{missing} is missing: a split of your own has three lists", "give --train, --val and --test"
        )
    if split != "own" and lists:
        flag = FIELDS[lists[0]].flag
        raise ConfigError(f"{flag} does not go with --split {split}", "leave one of them out")
    if split != "families" and "fold" in said:
        raise ConfigError(f"--fold {given['fold']} does not go with --split {split}", "add --split families")
    fold = given["fold"] if "fold" in said else 1 if split == "families" else None
    task = f"split-{split}" + (f"-{fold}" if fold is not None else "")
    if given.get("task") not in (None, task):
        raise ConfigError(
            f"--task {given['task']}: --mode general takes its tasks from --split",
            "leave --task out; for tasks of your choice give --train, --val and --test, or --mode multi",
        )
    return {"split": split, "fold": fold, "task": task}


def repeat_flags(settings: Settings) -> list[str]:
    """The words after `localgif optimize` that start a run with these settings again."""
    words: list[str] = []
    for name, row in FIELDS.items():
        value = getattr(settings, name)
        if name == "task" and settings.split is not None:
            continue  # --split says it
        if row.type is bool:
            words.append(row.flag if value else "--no-" + row.flag[2:])
        elif value is not None or row.none:
            text = value.alias if row.type is ModelSettings else row.none if value is None else value
            words += [row.flag, str(text)]
    return words
