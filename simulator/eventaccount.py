"""What a run of the event engine comes to: phases one after another in real time, time stacks that add up exactly, stations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import isqrt
from typing import Any

from simulator.eventprogram import EventProgram, ProgramPhase


@dataclass(frozen=True)
class LaneOutcome:
    """One lane of a simulated phase: its end, what its packets take alone, waits by resource in time of the lane."""

    end_ps: int
    idle_ps: int
    waits: dict[str, int]


@dataclass(frozen=True)
class Outcome:
    """One simulated phase: lanes of every work, (busy, packets, waited, longest wait) of every station, queue samples."""

    lanes: tuple[tuple[LaneOutcome, ...], ...]
    stations: tuple[tuple[int, int, int, int], ...]
    counters: tuple[tuple[int, int, int], ...]
    events: int


@dataclass(frozen=True)
class PhaseRun:
    """One phase. `seconds_ps`: from when the first core enters it to when the last one leaves it, barriers and calls
    included. `core_ps`: of each core, without waiting for others. `stack`: mean over the cores, adds up to the mean
    time that they spend in it, waiting included. `events`: simulation events."""

    name: str
    seconds_ps: int
    core_ps: tuple[int, ...]
    stack: dict[str, int]
    events: int

    @property
    def seconds(self) -> float:
        """Time of the phase."""
        return self.seconds_ps * 1e-12

    @property
    def stack_seconds(self) -> dict[str, float]:
        """The same in proportion to `stack`."""
        return {name: ps * 1e-12 for name, ps in divided(self.seconds_ps, self.stack).items()}


@dataclass(frozen=True)
class StationUse:
    """One station over the whole run, in real time. `queue`: mean number of packets that wait; `worst_ps`: longest wait."""

    name: str
    busy_ps: int
    utilisation: float
    packets: int
    mean_wait_ps: float
    queue: float
    worst_ps: int


@dataclass(frozen=True)
class EventRun:
    """What a program does. `time_ps`: of one layer and call; `stack`: the same divided among analytic.RESOURCES, exact.

    `slices`: (core, phase index, name, start, duration), picoseconds. `counters`: (station, time, packets waiting).
    """

    time_ps: int
    phases: tuple[PhaseRun, ...]
    stack: dict[str, int]
    stations: tuple[StationUse, ...]
    slices: tuple[tuple[int, int, str, int, int], ...]
    counters: tuple[tuple[int, int, int], ...]

    @property
    def seconds(self) -> float:
        """Time of one layer and call."""
        return self.time_ps * 1e-12


def divided(total: int, weights: dict[str, int]) -> dict[str, int]:
    """`total` in proportion to non-negative `weights`, whole numbers that add up exactly (largest remainders)."""
    everything = sum(weights.values())
    if everything <= 0:
        return {}
    parts = {name: total * weight // everything for name, weight in weights.items()}
    rest = total - sum(parts.values())
    order = sorted(weights, key=lambda name: (-(total * weights[name] % everything), name))
    for name in order[:rest]:
        parts[name] += 1
    return parts


def _evened(times: list[int], alike: list[tuple[Any, ...]], up: int, down: int) -> list[int]:
    """Simulated times of cores as they would scatter over the whole phase: what differs by chance among cores that are alike
    averages out over up / down times as many packets, with its square root."""
    if up <= down:
        return times
    root = isqrt((down << 40) // up)  # sqrt(down / up) in units of 2^-20
    groups: dict[tuple[Any, ...], list[int]] = {}
    for core, key in enumerate(alike):
        groups.setdefault(key, []).append(core)
    evened = list(times)
    for cores in groups.values():
        mean = sum(times[core] for core in cores) // len(cores)
        for core in cores:
            evened[core] = mean + ((times[core] - mean) * root >> 20)
    return evened


def _merge(into: dict[str, int], more: dict[str, int]) -> None:
    for name, value in more.items():
        into[name] = into.get(name, 0) + value


class Account:
    """Phases one after another: clocks of the cores, where their time went, stations in real time."""

    def __init__(self, program: EventProgram) -> None:
        self.program = program
        self.clock = [0] * program.cores
        self.stacks: list[dict[str, int]] = [{} for _ in range(program.cores)]
        self.front = 0
        self.phases: list[PhaseRun] = []
        self.slices: list[tuple[int, int, str, int, int]] = []
        self.counters: list[tuple[int, int, int]] = []
        count = len(program.stations)
        self.busy, self.packets, self.waited, self.real_waited, self.worst = ([0] * count for _ in range(5))

    def add(self, index: int, phase: ProgramPhase, outcome: Outcome) -> None:
        """Takes over what one phase came to."""
        up, down = phase.extend
        times = [0] * self.program.cores
        stacks: list[dict[str, int]] = [{} for _ in range(self.program.cores)]
        simulated = [
            max(max(lane.end_ps for lane in lanes) - work.offset_ps, 0) if lanes else 0
            for work, lanes in zip(phase.works, outcome.lanes, strict=True)
        ]
        evened = _evened(simulated, self._alike(phase), up, down)
        for work, lanes, own_time in zip(phase.works, outcome.lanes, evened, strict=True):
            spent = own_time * up // down
            idle = max((lane.idle_ps for lane in lanes), default=0) * up // down
            own = spent + work.plain_ps
            times[work.core] = max(own, work.least_ps)
            waits: dict[str, int] = {}
            for lane in lanes:
                _merge(waits, {name: wait * up // down for name, wait in lane.waits.items()})
            stack = _core_stack(own, idle + work.plain_ps, phase, waits)
            if work.least_ps > own:
                _merge(stack, {"line transfers": work.least_ps - own})
            stacks[work.core] = stack
        self._stations(outcome, min(self.clock), up, down)
        for core, time in enumerate(times):
            if time:
                self.slices.append((core, index, phase.name, self.clock[core], time))
            self.clock[core] += time
        self._synchronise(phase, index, stacks)
        for core, stack in enumerate(stacks):
            _merge(self.stacks[core], stack)
        end = max(self.clock)
        self.phases.append(PhaseRun(phase.name, end - self.front, tuple(times), _mean(stacks), outcome.events))
        self.front = end

    def _alike(self, phase: ProgramPhase) -> list[tuple[Any, ...]]:
        """What makes cores of a phase equal but for chance: packets by kind, and how many cores use each of their stations."""
        users: dict[tuple[int, int], int] = {}
        for work in phase.works:
            for place in enumerate(self.program.groups[work.core]):
                users[place] = users.get(place, 0) + 1
        return [
            (
                tuple(users[place] for place in enumerate(self.program.groups[work.core])),
                tuple(tuple(sorted(Counter(lane.kinds).items())) for lane in work.lanes),
            )
            for work in phase.works
        ]

    def _synchronise(self, phase: ProgramPhase, index: int, stacks: list[dict[str, int]]) -> None:
        """Calls of the phase, then its barriers: all wait for the last one. The end of the program is a barrier without cost."""
        last = index == len(self.program.phases) - 1
        if phase.calls_ps:
            for core in range(self.program.cores):
                self._spend(core, index, "synchronisation", phase.calls_ps, stacks)
        if phase.barrier_ps or last:
            together = max(self.clock)
            for core in range(self.program.cores):
                self._spend(core, index, "imbalance", together - self.clock[core], stacks)
                self._spend(core, index, "synchronisation", phase.barrier_ps, stacks)

    def _spend(self, core: int, index: int, resource: str, time: int, stacks: list[dict[str, int]]) -> None:
        if time:
            self.slices.append((core, index, resource, self.clock[core], time))
            _merge(stacks[core], {resource: time})
            self.clock[core] += time

    def _stations(self, outcome: Outcome, start: int, up: int, down: int) -> None:
        for station, (busy, packets, waited, worst) in enumerate(outcome.stations):
            if packets:
                self.busy[station] += busy * up // down
                self.packets[station] += packets
                self.waited[station] += waited
                self.real_waited[station] += waited * up // down
                self.worst[station] = max(self.worst[station], worst)
        self.counters += [(station, start + now * up // down, depth) for station, now, depth in outcome.counters]

    def result(self) -> EventRun:
        """The run as a whole."""
        total = self.front
        uses = []
        for station, packets, *sums in zip(
            self.program.stations, self.packets, self.busy, self.waited, self.real_waited, self.worst, strict=True
        ):
            busy, waited, real, worst = sums
            share = busy / max(total * station.servers, 1)
            uses.append(
                StationUse(station.name, busy, share, packets, waited / max(packets, 1), real / max(total, 1), worst)
            )
        everyone: dict[str, int] = {}
        for stack in self.stacks:
            _merge(everyone, stack)
        return EventRun(
            total, tuple(self.phases), divided(total, everyone), tuple(uses), tuple(self.slices), tuple(self.counters)
        )


def _mean(stacks: list[dict[str, int]]) -> dict[str, int]:
    everyone: dict[str, int] = {}
    for stack in stacks:
        _merge(everyone, stack)
    return divided(sum(everyone.values()) // len(stacks), everyone)


def _core_stack(total: int, idle: int, phase: ProgramPhase, waits: dict[str, int]) -> dict[str, int]:
    """Time of one core by resource: what it takes alone by the phase's shares; what is beyond by where packets waited, as far
    as they did, and the rest, stalls behind sparse misses, as memory concurrency."""
    shares = dict(phase.shares)
    beyond = total - idle
    if beyond <= 0 or not shares:
        return divided(total, shares or {"compute": 1})
    parts = divided(idle, shares)
    queued = sum(waits.values())
    if queued:
        _merge(parts, divided(min(queued, beyond), waits))
    if beyond > queued:
        _merge(parts, {"memory concurrency": beyond - queued})
    return parts
