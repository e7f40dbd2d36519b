"""Several servers under one name: who gets the next request, who is left out, who comes back.

Knows no HTTP: a server is an address with a number of slots, whether it is well is what `probe` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from localgif.endpoint.relay import BUSY
from localgif.endpoint.wire import ApiError, UpstreamBroken

_LOG = logging.getLogger("localgif.endpoint")

#: Seconds between two looks at a server that is out: the first, and the most, each twice the one before.
PROBE_FIRST, PROBE_LONGEST = 0.5, 10.0


@dataclass(eq=False)
class Member:
    """One server.

    Attributes:
        url: Where its requests go.
        slots: How many it is sent at once.
        name: How messages call it.
        busy: How many it has now.
        out: Why it is left out; empty when it is not.
        last: When it last finished a request, as a count; 0 is never, or it failed since.
    """

    url: str
    slots: int = 1
    name: str = ""
    busy: int = 0
    out: str = ""
    last: int = 0

    def __post_init__(self) -> None:
        self.name = self.name or self.url


def choose(members: Sequence[Member], avoid: Collection[Member] = ()) -> Member | None:
    """The least loaded server with a free slot, None when there is none.

    Of equals it is the one that finished a request last: it may still have the prompt's beginning in its cache.
    """
    free = [one for one in members if not one.out and one.busy < one.slots and one not in avoid]
    return min(free, key=lambda one: (one.busy / one.slots, -one.last), default=None)


@dataclass(eq=False)
class _Waiter:
    avoid: Collection[Member]
    place: asyncio.Future[Member] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Exhausted(UpstreamBroken):
    """Every server that is not out was tried, or all are out."""


class Pool:
    """The servers and who waits for them.

    Args:
        members: The servers.
        max_queue: How many requests may wait.
        probe: Says what is wrong with a server, or "" when it is well. Must not raise.

    An async context manager: leaving it ends the probing.
    """

    def __init__(self, members: Sequence[Member], max_queue: int, probe: Callable[[Member], Awaitable[str]]) -> None:
        self.members = list(members)
        self._max_queue = max_queue
        self._probe = probe
        self._waiters: list[_Waiter] = []
        self._probing: set[asyncio.Task[None]] = set()
        self._finished = 0

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._probing:
            task.cancel()
        await asyncio.gather(*self._probing, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def lend(self, avoid: Collection[Member] = ()) -> AsyncIterator[Member]:
        """A server with a free slot, first come, first served; the slot is kept for the time of the block.

        Args:
            avoid: Servers that are not wanted.

        Raises:
            ApiError: 503; too many wait.
            Exhausted: There is no server to wait for.
        """
        member = await self._wait(avoid)
        try:
            yield member
        finally:
            self._give_back(member)

    def succeeded(self, member: Member) -> None:
        """It answered a request to the end."""
        self._finished += 1
        member.last = self._finished

    def leave_out(self, member: Member, why: str) -> None:
        """It failed: no more requests until a probe finds it well. Those that wait for it alone fail."""
        member.last = 0
        if member.out:
            return
        member.out = why
        _LOG.warning("%s is left out: %s", member.name, why)
        task = asyncio.create_task(self._bring_back(member))
        self._probing.add(task)
        task.add_done_callback(self._probing.discard)
        self._serve()

    def anyone(self, avoid: Collection[Member] = ()) -> Member:
        """A server for a question that needs no slot.

        Raises:
            Exhausted: There is none.
        """
        well = [one for one in self.members if not one.out and one not in avoid]
        if not well:
            raise self._exhausted()
        return max(well, key=lambda one: one.last)

    async def _wait(self, avoid: Collection[Member]) -> Member:
        if not self._waiters and (member := choose(self.members, avoid)) is not None:
            member.busy += 1
            return member
        if all(one.out or one in avoid for one in self.members):
            raise self._exhausted()
        if len(self._waiters) >= self._max_queue:
            raise ApiError(503, BUSY)
        waiter = _Waiter(avoid)
        self._waiters.append(waiter)
        self._serve()  # others may wait for servers that this one can do without
        try:
            return await waiter.place
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None:
                self._give_back(waiter.place.result())  # it was called up in the moment in which it left
            raise

    def _give_back(self, member: Member) -> None:
        member.busy -= 1
        self._serve()

    def _serve(self) -> None:
        """Call up who waits, in order; who has nobody to wait for any more is told."""
        for waiter in list(self._waiters):
            if waiter.place.done():
                continue  # it is leaving
            member = choose(self.members, waiter.avoid)
            if member is not None:
                member.busy += 1
                self._call_up(waiter).set_result(member)
            elif all(one.out or one in waiter.avoid for one in self.members):
                self._call_up(waiter).set_exception(self._exhausted())

    def _call_up(self, waiter: _Waiter) -> asyncio.Future[Member]:
        self._waiters.remove(waiter)
        return waiter.place

    def _exhausted(self) -> Exhausted:
        reasons = "; ".join(f"{one.name}: {one.out}" for one in self.members if one.out)
        return Exhausted(f"no server is left to ask ({reasons})" if reasons else "no server is left to ask")

    async def _bring_back(self, member: Member) -> None:
        pause = PROBE_FIRST
        while True:
            await asyncio.sleep(pause)
            wrong = await self._probe(member)
            if not wrong:
                break
            member.out = wrong
            pause = min(2 * pause, PROBE_LONGEST)
        member.out = ""
        _LOG.warning("%s is back", member.name)
        self._serve()
