"""Which cell goes to which worker, and what becomes of it when it fails or its worker is gone. Pure.

Cells are given out in the order of the plan, each to a worker that has its models. One that failed is tried once more,
after all others, elsewhere if there is an elsewhere. One whose worker was lost is not at fault and goes on at once; but
one that loses worker after worker is what kills them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

#: Workers that a cell may lose before that counts as its failure; as many as Dask allows a task.
MOST_LOSSES = 3
#: As often is a cell tried that fails.
TRIES = 2


class Need(NamedTuple):
    """What a cell asks of a worker."""

    models: frozenset[str]
    """Names of what `Hand.lacks` may name: "animator qwen-coder-1.5b"."""
    embedded: bool
    """Whether it starts an engine of its own, which takes all the cores of a machine."""


@dataclass
class Hand:
    """A worker that is there."""

    address: str
    name: str
    host: str
    threads: int
    """Cells that it takes at once."""
    scratch: str = ""
    """Where it may write."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Model -> why it does not have it."""
    refused: str = ""
    """Why it gets no cell at all; "" when it may."""
    doubted: bool = False
    """Whether a cell failed there and nobody has looked at it since."""


class Board:
    """Who does what.

    Args:
        needs: Cell -> what it asks, in the order of the plan.
    """

    def __init__(self, needs: Mapping[str, Need]) -> None:
        self._needs = needs
        self._waiting = list(needs)
        self._again: list[str] = []
        self._tries = dict.fromkeys(needs, 0)
        self._losses = dict.fromkeys(needs, 0)
        self._failed_on: dict[str, str] = {}
        self._unfit: dict[str, dict[str, str]] = {cell: {} for cell in needs}
        self.running: dict[str, str] = {}
        """Cell -> address of its worker."""
        self.hands: dict[str, Hand] = {}
        """By address."""

    @property
    def waiting(self) -> tuple[str, ...]:
        """Cells that are to be given out, in their order."""
        return (*self._waiting, *self._again)

    def joins(self, hand: Hand) -> None:
        """A worker is there, or was looked at again."""
        self.hands[hand.address] = hand

    def leaves(self, address: str) -> tuple[str, ...]:
        """A worker is gone; gives back the cells that it had, which are still running for the board."""
        self.hands.pop(address, None)
        return tuple(cell for cell, where in self.running.items() if where == address)

    def give(self) -> tuple[str, Hand] | None:
        """The next cell and the worker that gets it; None when nobody who is free can have any."""
        for cell in self.waiting:
            fitting = [hand for hand in self.hands.values() if self._free(hand, cell) and not self._why_not(hand, cell)]
            if not fitting:
                continue
            failed_on = self._failed_on.get(cell)
            hand = min(fitting, key=lambda h: (h.address == failed_on, self._load(h.address) / h.threads, h.address))
            (self._waiting if cell in self._waiting else self._again).remove(cell)
            self.running[cell] = hand.address
            return cell, hand
        return None

    def done(self, cell: str) -> None:
        """A cell is done."""
        del self.running[cell]

    def failed(self, cell: str) -> bool:
        """A cell failed; gives back whether it will be tried again."""
        self._failed_on[cell] = self.running.pop(cell)
        self._tries[cell] += 1
        if self._tries[cell] < TRIES:
            self._again.append(cell)
            return True
        return False

    def lost(self, cell: str) -> bool:
        """The worker of a cell is gone; gives back whether the cell may go on elsewhere without that counting."""
        self._losses[cell] += 1
        if self._losses[cell] >= MOST_LOSSES:
            self._losses[cell] = 0
            return False
        del self.running[cell]
        # In front: it was the first of its kind once, and others may wait for what it shows.
        (self._again if self._tries[cell] else self._waiting).insert(0, cell)
        return True

    def unfit(self, cell: str, why: str) -> None:
        """A worker cannot go on with this very cell, but may take others."""
        self._unfit[cell][self.running.pop(cell)] = why
        (self._again if self._tries[cell] else self._waiting).insert(0, cell)

    def reasons(self, cell: str) -> str:
        """Why no worker that is there can have a waiting cell; "" when one can, now or when it is free."""
        if not self.hands:
            return ""
        said = {hand.name: self._why_not(hand, cell) for hand in self.hands.values()}
        return "" if not all(said.values()) else "\n".join(f"{name}: {why}" for name, why in said.items())

    def drop(self, cell: str) -> None:
        """A waiting cell is given up."""
        (self._waiting if cell in self._waiting else self._again).remove(cell)

    def _load(self, address: str) -> int:
        return sum(where == address for where in self.running.values())

    def _free(self, hand: Hand, cell: str) -> bool:
        if hand.doubted or self._load(hand.address) >= hand.threads:
            return False
        if not self._needs[cell].embedded:
            return True
        engines = {self.hands[where].host for other, where in self.running.items()
                   if self._needs[other].embedded and where in self.hands}  # fmt: skip
        return hand.host not in engines

    def _why_not(self, hand: Hand, cell: str) -> str:
        """Why a worker can never have a cell as things are."""
        lacking = [why for model, why in hand.lacks.items() if model in self._needs[cell].models]
        return hand.refused or "; ".join(lacking) or self._unfit[cell].get(hand.address, "")
