"""The settings of a run: their fields, their defaults per mode, and how flags and models.toml become them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from localgif.errors import nearest as nearest  # for whoever names a choice of the user's
from localgif.records import Limits, Record

Mode = Literal["single", "multi", "general"]

"""One task; one prompt for several; learn from some tasks and be tested on others."""

#: What --task names for the split that ships (tasks/suite.py).
SHIPPED_SPLIT = "shipped-split"

#: Several tasks are witnesses enough: one sample of each tells more than two of half as many.
DEFAULTS: dict[str, dict[str, Any]] = {
    "single": {"task": "bouncing-ball", "metric_calls": 12, "samples": 2},
    "multi": {
        "task": "bouncing-ball,spinning-square,pulsing-square,sliding-square",
        "metric_calls": 40,
        "samples": 1,
    },
    "general": {"task": SHIPPED_SPLIT, "metric_calls": 60, "samples": 1},
}

Role = Literal["animator", "reflector"]

EndpointKind = Literal["embedded", "ollama", "openai"]

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
