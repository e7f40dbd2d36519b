"""The settings of a run, in one table: the annotated fields of Settings.

Command-line options, sweep keys, groups of a comparison, the report's command and docs/runs.md follow from it.
"""

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

#: Temperatures where models.toml sets none. 0.2, from the article, makes the score depend on the prompt more than on
#: chance. At 0 a reflector would repeat its answer to the same prompt, and propose nothing new.
ROLE_TEMPERATURE: dict[Role, float] = {"animator": 0.2, "reflector": 0.7}


class Endpoint(Record):
    """Where models run."""

    # Editors show these docstrings: they become the descriptions in docs/models.schema.json.
    model_config = ConfigDict(use_attribute_docstrings=True)

    kind: EndpointKind
    """embedded: llama.cpp inside localgif. ollama: a running Ollama. openai: vLLM, llama.cpp's server, LM Studio."""
    url: str | None = None
    """Address of the server: without a path for Ollama, with /v1 for an OpenAI-compatible server."""
    api_key_env: str | None = Field(None, min_length=1)
    """Name of the environment variable with the key of a server of kind "openai"."""
    allow_remote: bool = False
    """Whether the server may be on another machine, which then reads prompts and programs."""


class EndpointSettings(Endpoint):
    """An endpoint of a run. The embedded one has no url: it picks a free port when it starts."""

    name: str
    cloud: bool = False
    """Whether the server may forward requests to somebody else's; only with offline = false."""

    @model_validator(mode="before")
    @classmethod
    def _without_retired_keys(cls, stored: Any) -> Any:
        """Drop `urls` and `slots`, which earlier versions stored for several servers behind one name."""
        if isinstance(stored, dict):
            return {key: value for key, value in stored.items() if key not in ("urls", "slots")}
        return stored


class Model(Record):
    """The properties of a model that requests depend on."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str = Field(min_length=1)
    """The name that the endpoint knows, e.g. "qwen2.5-coder:1.5b"."""
    num_ctx: int = Field(8192, ge=512, le=1_048_576)
    """Window in tokens, for prompt and answer together."""
    num_predict: int = Field(1024, ge=16, le=65_536)
    """Longest answer in tokens."""
    vision: bool = False
    """Whether this model, as the reflector, receives pictures of what was drawn."""
    think: bool = False
    """Whether it may think before it answers. Thoughts count towards num_predict and are discarded."""
    system: Literal["system", "user"] = "system"
    """Where instructions go: in a system message, or (user) at the start of the user's message, for a chat template
    that drops or refuses system messages."""


class ModelSettings(Model):
    """The model of one role."""

    role: Role
    alias: str
    """Its name in models.toml. A model without a table has its name in the catalogue, or "ollama:" and its name on the
    Ollama."""
    endpoint: EndpointSettings
    temperature: float = Field(ge=0, le=2)
    path: str | None
    """The GGUF file in models.toml; None if it names none."""
    litellm: str
    """The LiteLLM model string, e.g. "ollama/qwen2.5-coder:1.5b"."""

    @property
    def abilities(self) -> tuple[str, ...]:
        """What the model must be able to do besides writing, as keys of models.toml."""
        sees = self.vision and self.role == "reflector"
        return (("vision",) if sees else ()) + (("think",) if self.think else ())


@dataclass(frozen=True)
class Setting:
    """One row of the table. Fields of Settings are annotated with the first four; `fields_of` adds the rest."""

    help: str
    """One or two sentences for --help and docs/runs.md."""
    by_mode: Mapping[str, Any] = field(default_factory=dict)
    """Mode -> default, where it differs from the field's default."""
    fork: bool = False
    """Whether `localgif resume --fork` may change it."""
    bare: bool = False
    """Whether its value alone names a group in a comparison: "plain" does, 12 does not."""
    name: str = ""
    type: Any = str
    """bool, int, float, str, or ModelSettings, which users give by name."""
    default: Any = None
    choices: tuple[str, ...] = ()
    limits: str = ""
    """The range in words."""
    optional: bool = False
    """Whether it may be None."""

    @property
    def flag(self) -> str:
        """The command-line option."""
        return "--" + self.name.replace("_", "-")

    @property
    def none(self) -> str:
        """How the command line and sweep files write None; "" if None is the default."""
        return "none" if self.optional and self.default is not None else ""

    @property
    def values(self) -> str:
        """The valid values in words, for messages and docs."""
        words = {bool: "true or false", int: "a whole number", float: "a number"}.get(self.type, "text")
        words = ", ".join(self.choices) or words + (f", {self.limits}" if self.limits else "")
        return words + (f', or "{self.none}"' if self.none else "")

    @property
    def default_words(self) -> str:
        """The default in words, with the modes that have another one."""
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
        """A value of the command line or of a sweep file, as Settings needs it. Raises ConfigError if an optional
        number is neither a number nor "none"."""
        if not self.none or not isinstance(value, str):
            return value
        try:
            return None if value == self.none else float(value)
        except ValueError:
            raise ConfigError(f"{self.flag} {value} is not a number", f"give {self.values}") from None


#: `task` of mode "general" in runs of earlier versions, which had only one split; run.json has its parts.
EARLIER_SPLIT = "shipped-split"
#: Default target. The article's score cannot exceed 0.992 with 24 frames in about a second, the strict one 1, and
#: nobody sees a difference above this value.
TARGET = 0.985
#: A picture with this strict score shows what the brief asks for.
ENOUGH = 0.97

Mode = Literal["single", "multi", "general"]
Split = Literal["briefs", "families", "own"]
Reflection = Literal["grounded", "example-only", "instruction-only", "plain", "none"]
Level = Literal["full", "seatbelt", "no-read-confinement", "weak", "limits-only"]


class Settings(Record):
    """Everything that determines a run. run.json stores all of it."""

    animator: Annotated[
        ModelSettings, Setting("The model that writes the code: a name in models.toml, or its own name.", fork=True)
    ]
    reflector: Annotated[
        ModelSettings, Setting("The model that rewrites the prompt: a name in models.toml, or its own name.", fork=True)
    ]
    reflection: Annotated[
        Reflection,
        Setting(
            "How to improve the prompt. grounded takes small measured steps, with examples and rules; example-only and "
            "instruction-only take one kind; plain is GEPA's own reflection; none keeps the best of N samples.",
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
            "A shipped task, the path of a TOML file, or a sentence; with multi several, separated by commas. general "
            "takes its tasks from --split.",
            {"multi": "bouncing-ball,spinning-square,pulsing-square,sliding-square"},
            bare=True,
        ),
    ] = "bouncing-ball"
    """Mode general: the name of the split, such as "split-families-2"."""
    split: Annotated[
        Split | None,
        Setting(
            "What general tests. briefs: new briefs of the families that it learns from. families: a family that it "
            "does not learn from. own: the lists --train, --val and --test, which imply it.",
            {"general": "briefs"},
        ),
    ] = None
    fold: Annotated[
        int | None, Setting("With --split families: the number of the family to hold out (1 if omitted)."), Field(ge=1)
    ] = None
    train: Annotated[str | None, Setting("A split of your own: tasks to learn from, separated by commas.")] = None
    val: Annotated[str | None, Setting("A split of your own: tasks that choose among candidates.")] = None
    test: Annotated[str | None, Setting("A split of your own: tasks that are drawn only at the end.")] = None
    facts: Annotated[bool, Setting("Give the reflector background facts about Pillow and GIFs.")] = True
    form: Annotated[
        bool,
        Setting("Search for programs in one form: drawing functions, then the request phrase by phrase."),
    ] = True
    examples_from: Annotated[
        str | None,
        Setting("Also show the examples of an earlier run: its name, or the path of its folder."),
    ] = None
    target: Annotated[
        float | None,
        Setting(
            'Stop when a re-test of the best prompt reaches this score; "none" spends the whole budget.', fork=True
        ),
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
            "Fresh samples of each tested task at the end, for the seed prompt and for the best one. The run stops at "
            "two or more when the others cannot change the verdict.",
            fork=True,
        ),
        Field(ge=1, le=64),
    ] = 4
    transfer: Annotated[
        bool,
        Setting(
            "After a search on one task, try both prompts once on two other shipped tasks, to show whether a gain "
            "carries over. Not part of the verdict.",
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
        """The moves of grounded reflection; empty for plain and none."""
        if self.reflection == "example-only":
            return ("example",)
        if self.reflection == "instruction-only":
            return ("instruction",)
        return ("example", "instruction") if self.reflection == "grounded" else ()


def fields_of(record: type[BaseModel]) -> dict[str, Setting]:
    """Name -> row of the table, for each field of a record that is annotated with a Setting."""
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


#: The settings that a user can choose, in the order of --help.
FIELDS: dict[str, Setting] = fields_of(Settings)
#: The settings that define the user's own split.
LISTS = ("train", "val", "test")


def known(name: str, value: str) -> str:
    """`value` unchanged. Raises ConfigError, with the nearest choice, if the setting does not have it."""
    row = FIELDS[name]
    if value not in row.choices:
        what = name.replace("_", " ")
        raise ConfigError(f'{row.flag} {value}: there is no {what} "{value}"', nearest(str(value), row.choices))
    return value


def checked(values: Mapping[str, Any]) -> Settings:
    """Settings with these values. Missing ones, and None where None is not a value, get the default of the mode.

    Raises:
        ConfigError: An unknown setting or choice, or a number out of range; the message names the flag.
    """
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
    """The settings that a split implies. Raises ConfigError for settings that exclude each other."""
    said = [name for name in ("split", "fold", *LISTS) if given.get(name) is not None]
    if mode != "general":
        if said:
            flag = FIELDS[said[0]].flag
            raise ConfigError(f"{flag} works only with --mode general", f"add --mode general, or remove {flag}")
        return {}
    if not said and given.get("task") == EARLIER_SPLIT:
        return {"split": None}
    lists = [name for name in said if name in LISTS]
    split = given["split"] if "split" in said else "own" if lists else FIELDS["split"].by_mode[mode]
    if split == "own" and len(lists) < len(LISTS):
        missing = next(FIELDS[name].flag for name in LISTS if name not in lists)
        raise ConfigError(f"{missing} is missing: your own split needs three lists", "give --train, --val and --test")
    if split != "own" and lists:
        flag = FIELDS[lists[0]].flag
        raise ConfigError(f"{flag} does not work with --split {split}", "remove one of them")
    if split != "families" and "fold" in said:
        raise ConfigError(f"--fold {given['fold']} does not work with --split {split}", "add --split families")
    fold = given["fold"] if "fold" in said else 1 if split == "families" else None
    task = f"split-{split}" + (f"-{fold}" if fold is not None else "")
    if given.get("task") not in (None, task):
        raise ConfigError(
            f"--task {given['task']}: --mode general takes its tasks from --split",
            "remove --task; to choose the tasks give --train, --val and --test, or use --mode multi",
        )
    return {"split": split, "fold": fold, "task": task}


def repeat_flags(settings: Settings) -> list[str]:
    """The arguments of `localgif optimize` that start a run with these settings."""
    words: list[str] = []
    for name, row in FIELDS.items():
        value = getattr(settings, name)
        if name == "task" and settings.split is not None:
            continue  # --split implies it
        if row.type is bool:
            words.append(row.flag if value else "--no-" + row.flag[2:])
        elif value is not None or row.none:
            text = value.alias if row.type is ModelSettings else row.none if value is None else value
            words += [row.flag, str(text)]
    return words
