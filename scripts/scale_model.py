"""Many runs on many endpoints, simulated: a closed queueing network with latencies that real runs had. Pure.

A seat is a run that is going on; when it ends, another begins. A run is a sequence of steps, each an answer of a model
and what follows from it: the endpoint is busy for the model's seconds, a core for the sandbox and for what localgif
itself does, the disk while the step is stored, in this order. Between two runs of a seat the scheduler takes the folder
of the one in and hands the other out. Who finds a station taken waits, first come, first served. simpy keeps the clock.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import simpy

from localgif.records import Record

Kind = Literal["sample", "reflection"]
#: What can be waited for, in the order in which a step takes it.
ENDPOINTS, CORES, DISK, SCHEDULER = STATIONS = ("endpoints", "cores", "disk", "scheduler")
#: Part of the simulated time that is not counted: queues fill, and seats fall out of step.
WARM_UP = 1 / 3


class Step(NamedTuple):
    """An answer of a model and what follows from it. Seconds."""

    kind: Kind
    model: float
    """From the request to the end of the answers, repairs included."""
    sandbox: float
    """Programs run and measured since the step before."""
    rest: float
    """What is left of the time since the step before: localgif, LangGraph, GEPA."""
    store: float
    """Written to the disk."""


class RunSteps(Record):
    """One recorded run."""

    run: str
    steps: tuple[Step, ...]
    collect: float
    """Seconds to read, check and write its folder, as whoever collects it does."""
    memory: int
    """Largest resident size of its process, bytes."""


class Latencies(Record):
    """Recorded runs with the same models on one machine."""

    model: str
    runs: tuple[RunSteps, ...]

    def mean(self, seconds: str) -> float:
        """Mean over all steps of a field of Step."""
        values = [float(getattr(step, seconds)) for run in self.runs for step in run.steps]
        return sum(values) / len(values)

    @property
    def steps_a_run(self) -> float:
        """Mean."""
        return sum(len(run.steps) for run in self.runs) / len(self.runs)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What many runs are given.

    Attributes:
        endpoints: Servers with one slot each.
        seats: Runs at once; None is one for each endpoint, which is what localgif does.
        machines: Machines that send the requests and run the programs; seats are dealt out over them.
        cores: Of each such machine.
        dispatch: Seconds of the scheduler to hand out a run.
        faster: How many times as fast as the recorded ones the endpoints are.
    """

    endpoints: int
    seats: int | None = None
    machines: int = 1
    cores: int = 8
    dispatch: float = 0.0
    faster: float = 1.0

    @property
    def at_once(self) -> int:
        """Runs at once."""
        return self.endpoints if self.seats is None else self.seats


@dataclass(frozen=True)
class Outcome:
    """What was seen in a stretch of simulated time.

    Attributes:
        seconds: Its length.
        steps: That ended in it.
        busy: Station -> the part of its places that was taken, 0 to 1, mean.
    """

    seconds: float
    steps: int
    busy: dict[str, float]

    @property
    def rate(self) -> float:
        """Steps a second."""
        return self.steps / self.seconds


def demands(latencies: Latencies, place: Place) -> dict[str, float]:
    """Station -> seconds that a step takes of it, mean; the scheduler's are a run's, shared out over its steps."""
    collect = sum(run.collect for run in latencies.runs) / len(latencies.runs)
    return {
        ENDPOINTS: latencies.mean("model") / place.faster,
        CORES: latencies.mean("sandbox") + latencies.mean("rest"),
        DISK: latencies.mean("store"),
        SCHEDULER: (place.dispatch + collect) / latencies.steps_a_run,
    }


def bounds(latencies: Latencies, place: Place) -> dict[str, float]:
    """What keeps the rate down -> steps a second that it allows at most, whatever else is there.

    The asymptotic bounds of closed queueing networks: a station with c places and a demand of d seconds passes c / d,
    and n seats without any waiting n by the sum of all demands.
    """
    needed = demands(latencies, place)
    places = {ENDPOINTS: place.endpoints, CORES: place.machines * place.cores, DISK: place.machines, SCHEDULER: 1}
    found = {name: places[name] / seconds for name, seconds in needed.items() if seconds > 0}
    return {**found, "seats": place.at_once / sum(needed.values())}


@dataclass
class _Station:
    """Something that so many can have at once, and for how long they had it."""

    env: simpy.Environment
    places: int
    taken: int = 0
    area: float = 0.0
    since: float = 0.0
    resource: simpy.Resource = field(init=False)

    def __post_init__(self) -> None:
        self.resource = simpy.Resource(self.env, self.places)

    def settle(self) -> None:
        """Count what was taken until now."""
        self.area += self.taken * (self.env.now - self.since)
        self.since = self.env.now

    def use(self, seconds: float) -> Iterator[Any]:
        if seconds <= 0:
            return
        with self.resource.request() as turn:
            yield turn
            self.settle()
            self.taken += 1
            yield self.env.timeout(seconds)
            self.settle()
            self.taken -= 1


class _World:
    """The stations of a place, and the seats that use them."""

    def __init__(self, latencies: Latencies, place: Place, dice: random.Random) -> None:
        self.env = simpy.Environment()
        self.done = 0
        self._latencies = latencies
        self._place = place
        self._dice = dice
        self._pools: dict[str, list[Step]] = {"sample": [], "reflection": []}
        for run in latencies.runs:
            for step in run.steps:
                self._pools[step.kind].append(step)
        self.endpoints = _Station(self.env, place.endpoints)
        self.scheduler = _Station(self.env, 1)
        self.machines = [
            (_Station(self.env, place.cores), _Station(self.env, 1)) for _ in range(min(place.machines, place.at_once))
        ]
        for number in range(place.at_once):
            self.env.process(self._seat(*self.machines[number % len(self.machines)]))

    def _seat(self, cores: _Station, disk: _Station) -> Iterator[Any]:
        # As if it had been going on for a while: seats do not begin together.
        run = self._dice.choice(self._latencies.runs)
        begin = self._dice.randrange(len(run.steps))
        yield self.env.timeout(self._dice.uniform(0, run.steps[begin].model / self._place.faster))
        while True:
            for kind in [step.kind for step in run.steps[begin:]]:
                step = self._dice.choice(self._pools[kind])
                yield from self.endpoints.use(step.model / self._place.faster)
                yield from cores.use(step.sandbox + step.rest)
                yield from disk.use(step.store)
                self.done += 1
            yield from self.scheduler.use(run.collect + self._place.dispatch)
            run, begin = self._dice.choice(self._latencies.runs), 0

    def stations(self) -> dict[str, list[_Station]]:
        return {
            ENDPOINTS: [self.endpoints],
            CORES: [cores for cores, _ in self.machines],
            DISK: [disk for _, disk in self.machines],
            SCHEDULER: [self.scheduler],
        }


def simulate(latencies: Latencies, place: Place, steps: int, seed: int = 0) -> Outcome:
    """Let the runs go on until about `steps` steps have ended after a warm-up.

    Args:
        latencies: What steps take: each is drawn anew from the recorded ones of its kind; runs keep the order of kinds.
        place: What there is.
        steps: How many are looked at; fewer when much is waited for.
        seed: Of the draws.
    """
    world = _World(latencies, place, random.Random(seed))
    seconds = steps / min(bounds(latencies, place).values())
    begin = WARM_UP / (1 - WARM_UP) * seconds
    world.env.run(until=begin)
    for station in (each for group in world.stations().values() for each in group):
        station.settle()
        station.area = 0.0
    before = world.done
    world.env.run(until=begin + seconds)
    busy = {}
    for name, group in world.stations().items():
        for station in group:
            station.settle()
        busy[name] = sum(each.area for each in group) / (seconds * sum(each.places for each in group))
    return Outcome(seconds, world.done - before, busy)


def knee(rates: Sequence[tuple[int, float]], part: float = 0.9) -> int | None:
    """The fewest endpoints with a rate below a part of what as many single ones would do; None when no number has.

    Args:
        rates: (endpoints, rate) with ascending endpoints, the first of them the measure.
        part: Which.
    """
    first, alone = rates[0]
    return next((count for count, rate in rates if rate < part * count / first * alone), None)
