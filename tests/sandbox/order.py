"""What a driver is told (drive.py)."""

from __future__ import annotations

from typing import TypedDict


class Order(TypedDict):
    """One level, one user, some programs."""

    level: str
    user: str
    off: list[str]
    """Layers that are switched off."""
    lacks: dict[str, str]
    """What the kernel is made to refuse ("landlock", "seccomp"), and with which error. The level must then be found."""
    landlock: int
    """The version of Landlock that the keeper takes the kernel for; 0: what it is."""
    leaky: bool
    """Whether the keeper is started with our whole environment, as a careless app would."""
    programs: list[str]
