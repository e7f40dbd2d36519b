"""models.toml and flags -> frozen Settings; a stored run's settings as they would be today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from localgif.config import ModelSettings, ModelsFile, Settings
from localgif.errors import ConfigError
from localgif.mistakes import nearest
from localgif.modes import DEFAULTS

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
