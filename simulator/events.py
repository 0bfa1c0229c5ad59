"""The event engine: cores, queues and memory channels as a discrete-event simulation (SimPy), in whole picoseconds.

An `EventProgram` is run phase by phase. Cores are processes; a packet takes credits of its lane, passes its stations first
come, first served, overlaps with its share of the arithmetic, and gives its credits back. Rates are nowhere typed in: what a
core gets is credits over response time (Little's law), what a station gives is its service time.

Only integers and single IEEE operations (+ - * /) enter, so a stored program gives the same run on every host.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapreplace
from typing import Any

import simpy

from simulator.eventplan import EventOptions, make_program
from simulator.eventprogram import (
    BLOCKS,
    CREDITS,
    FREE,
    NORM_UNIT,
    CoreWork,
    EventProgram,
    Kind,
    LoadCurve,
    ProgramPhase,
    hold,
)
from simulator.phases import Phase
from simulator.resources import Resources

SAMPLES = 512
"""Queue samples of one phase, about; bounds the counters of a timeline."""


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


@dataclass(slots=True)
class _LaneState:
    """A lane while it runs."""

    core: int
    kinds: Any
    choices: Any
    starts: Any
    groups: Any
    free: int
    position: int = 0
    waiting: bool = False
    end: int = 0
    waits: dict[str, int] = field(default_factory=dict)
    blocked: deque[list[Any]] = field(default_factory=deque)


@dataclass(slots=True)
class _Packet:
    """A packet on its way."""

    lane: _LaneState
    kind: Any
    choice: int
    issued: int
    stop: int
    waited: int
    marker: Any


class _Stations:
    """Next-free times and statistics of all stations in one phase."""

    def __init__(self, program: EventProgram) -> None:
        count = len(program.stations)
        self.free: list[Any] = [0 if s.servers == 1 else [0] * s.servers for s in program.stations]
        self.busy = [0] * count
        self.packets = [0] * count
        self.waited = [0] * count
        self.worst = [0] * count
        self.resource = [s.resource for s in program.stations]

    def enter(self, station: int, service: int, now: int) -> int:
        """Queues a packet and returns how long it waits."""
        free = self.free[station]
        self.busy[station] += service
        self.packets[station] += 1
        if isinstance(free, list):
            start = free[0] if free[0] > now else now
            heapreplace(free, start + service)
        else:
            start = free if free > now else now
            self.free[station] = start + service
        wait: int = start - now
        if wait:
            self.waited[station] += wait
            if wait > self.worst[station]:
                self.worst[station] = wait
        return wait


class _Load:
    """Use of the stations of one loaded-latency curve over a window: what the last whole window and this one carried."""

    def __init__(self, curve: LoadCurve) -> None:
        self.window, self.servers, self.added = curve.window_ps, curve.servers, curve.added_ps
        self.slot = self.before = self.current = 0

    def latency(self, service: int, now: int) -> int:
        """Counts a service and returns the added latency at the present load."""
        slot = now // self.window
        if slot != self.slot:
            self.before = self.current if slot == self.slot + 1 else 0
            self.slot, self.current = slot, 0
        self.current += service
        part = now - slot * self.window
        carried = self.before * (self.window - part) + self.current * self.window
        position = carried * (len(self.added) - 1) // (self.window * self.window * self.servers)
        return self.added[min(position, len(self.added) - 1)]


class _PhaseSimulation:
    """One phase on an empty machine: all cores enter it together."""

    def __init__(self, program: EventProgram, phase: ProgramPhase) -> None:
        self.environment = simpy.Environment(initial_time=0)
        self.stations = _Stations(program)
        self.norms = [tuple(u / NORM_UNIT for u in table) for table in program.norms]
        self.loads = [_Load(curve) for curve in program.curves]
        self.kinds = [self._compiled(kind) for kind in phase.kinds]
        self.counters: list[tuple[int, int, int]] = []
        self.every = max(1, sum(len(lane.kinds) for work in phase.works for lane in work.lanes) // SAMPLES)
        self.seen = 0
        self.events = 0
        self.lanes: list[list[_LaneState]] = []
        for work in phase.works:
            self.lanes.append(self._start(work, program.groups[work.core]))
        for states in self.lanes:
            self.environment.process(self._core(states))

    def _compiled(self, kind: Kind) -> tuple[Any, ...]:
        """Fields in the order in which `_issue` and `_travel` take them apart, with the hold and the end of an idle packet."""
        norm = self.norms[kind.norm] if kind.norm >= 0 else None
        parts = (kind.floor_ps, kind.arithmetic_ps, norm, kind.extra_ps)
        idle = hold(kind.latency_ps, *parts)
        route = tuple((stop.group, stop.service_ps, stop.divisor) for stop in kind.route)
        own = idle * kind.charge // CREDITS - idle  # from when it is done to when the next would be, queues aside
        return kind.charge, kind.latency_ps, route, parts, idle, own, kind.order, kind.load_divisor

    def _start(self, work: CoreWork, groups: tuple[int, ...]) -> list[_LaneState]:
        states = []
        for lane in work.lanes:
            steps = lane.ramp_steps
            state = _LaneState(work.core, lane.kinds, lane.choices, lane.starts, groups, 0)
            for step in range(steps):
                part = CREDITS * (step + 1) // steps - CREDITS * step // steps
                self._at(work.offset_ps + lane.ramp_ps * step // steps, self._ramp, (state, part))
            states.append(state)
        return states

    def _core(self, lanes: list[_LaneState]) -> Any:
        """A core as a process: it waits until all lanes have run dry."""
        yield self.environment.timeout(0)
        for lane in lanes:
            self._issue(lane)

    def _at(self, delay: int, action: Callable[[Any], None], value: Any) -> None:
        self.events += 1
        event = self.environment.timeout(delay, value)
        event.callbacks.append(action)

    def _ramp(self, event: Any) -> None:
        lane, part = event.value
        lane.free += part
        self._issue(lane)

    def _wake(self, event: Any) -> None:
        event.value.waiting = False
        self._issue(event.value)

    def _issue(self, lane: _LaneState) -> None:
        """Sends packets as long as at least half of the credits of the next one are free (nearest whole packet)."""
        position, kinds, count = lane.position, lane.kinds, len(lane.kinds)
        now = self.environment.now
        while position < count:
            kind = self.kinds[kinds[position]]
            if lane.free * 2 < kind[0] or lane.free < kind[0] == CREDITS:
                break
            if lane.starts and lane.starts[position] > now:
                if not lane.waiting:
                    lane.waiting = True
                    self._at(lane.starts[position] - now, self._wake, lane)
                break
            lane.free -= kind[0]
            marker = None
            if kind[6] == BLOCKS:
                marker = [False, 0]
                lane.blocked.append(marker)
            elif kind[6] != FREE and lane.blocked:
                marker = lane.blocked[-1]
            packet = _Packet(lane, kind, lane.choices[position], now, 0, 0, marker)
            position += 1
            lane.position = position
            if kind[2]:
                self._travel(packet)
            else:
                self._leave(packet, kind[4])
        lane.position = position

    def _arrive(self, event: Any) -> None:
        self._travel(event.value)

    def _travel(self, packet: _Packet) -> None:
        """Through the stations from `packet.stop` on, until it has to wait at one that is not the last."""
        now = self.environment.now
        kind, lane, stations = packet.kind, packet.lane, self.stations
        route = kind[2]
        last = len(route) - 1
        while True:
            group, service, divisor = route[packet.stop]
            station = lane.groups[group] + packet.choice // divisor
            wait = stations.enter(station, service, now)
            if packet.stop == last and kind[7]:
                wait = max(wait, self.loads[packet.choice // kind[7]].latency(service, now))
            self.seen += 1
            if self.seen % self.every == 0:
                self.counters.append((station, now, wait // service if service else 0))
            packet.stop += 1
            if wait:
                packet.waited += wait
                name = stations.resource[station]
                lane.waits[name] = lane.waits.get(name, 0) + wait * kind[0]
            if packet.stop > last:
                break
            if wait:
                self._at(wait, self._arrive, packet)
                return
        self._leave(packet, hold(kind[1] + packet.waited, *kind[3]) if packet.waited else kind[4])

    def _leave(self, packet: _Packet, held: int) -> None:
        """The whole response is known: credits come back then."""
        done = packet.issued + held
        lane = packet.lane
        end = done + packet.kind[5]
        if end > lane.end:
            lane.end = end
        self._at(done - self.environment.now, self._done, packet)

    def _done(self, event: Any) -> None:
        packet = event.value
        lane, marker, charge = packet.lane, packet.marker, packet.kind[0]
        if marker is None:
            lane.free += charge
        elif packet.kind[6] == BLOCKS:
            marker[0] = True
            marker[1] += charge
            blocked = lane.blocked
            while blocked and blocked[0][0]:
                head = blocked.popleft()
                lane.free += head[1]
                head[1] = -1
        elif marker[1] < 0:  # everything before it is done
            lane.free += charge
        else:
            marker[1] += charge
        self._issue(lane)

    def run(self) -> None:
        """Until nothing happens any more."""
        self.environment.run()


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


def _merge(into: dict[str, int], more: dict[str, int]) -> None:
    for name, value in more.items():
        into[name] = into.get(name, 0) + value


class _Account:
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

    def add(self, index: int, phase: ProgramPhase, simulation: _PhaseSimulation) -> None:
        """Takes over what one phase came to."""
        up, down = phase.extend
        times = [0] * self.program.cores
        stacks: list[dict[str, int]] = [{} for _ in range(self.program.cores)]
        for work, lanes in zip(phase.works, simulation.lanes, strict=True):
            simulated = max((lane.end for lane in lanes), default=0) - (work.offset_ps if lanes else 0)
            spent = max(simulated, 0) * up // down
            idle = max((_idle(lane, simulation.kinds) for lane in lanes), default=0) * up // down
            own = spent + work.plain_ps
            times[work.core] = max(own, work.least_ps)
            waits: dict[str, int] = {}
            for lane in lanes:
                _merge(waits, {name: wait // CREDITS * up // down for name, wait in lane.waits.items()})
            stack = _core_stack(own, idle + work.plain_ps, phase, waits)
            if work.least_ps > own:
                _merge(stack, {"line transfers": work.least_ps - own})
            stacks[work.core] = stack
        self._stations(simulation, min(self.clock), up, down)
        for core, time in enumerate(times):
            if time:
                self.slices.append((core, index, phase.name, self.clock[core], time))
            self.clock[core] += time
        self._synchronise(phase, index, stacks)
        for core, stack in enumerate(stacks):
            _merge(self.stacks[core], stack)
        end = max(self.clock)
        self.phases.append(PhaseRun(phase.name, end - self.front, tuple(times), _mean(stacks), simulation.events))
        self.front = end

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

    def _stations(self, simulation: _PhaseSimulation, start: int, up: int, down: int) -> None:
        use = simulation.stations
        for station, packets in enumerate(use.packets):
            if packets:
                self.busy[station] += use.busy[station] * up // down
                self.packets[station] += packets
                self.waited[station] += use.waited[station]
                self.real_waited[station] += use.waited[station] * up // down
                self.worst[station] = max(self.worst[station], use.worst[station])
        self.counters += [(station, start + now * up // down, depth) for station, now, depth in simulation.counters]

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


def _idle(lane: _LaneState, kinds: list[tuple[Any, ...]]) -> int:
    """What the packets of a lane take with nobody else on the machine."""
    return sum(kinds[kind][0] * kinds[kind][4] for kind in lane.kinds) // CREDITS


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


def run_program(program: EventProgram) -> EventRun:
    """Runs `program`: phases one after another, each from an empty machine, all cores entering it together."""
    account = _Account(program)
    for index, phase in enumerate(program.phases):
        simulation = _PhaseSimulation(program, phase)
        simulation.run()
        account.add(index, phase, simulation)
    return account.result()


def run_phases(phases: tuple[Phase, ...], r: Resources, options: EventOptions | None = None) -> EventRun:
    """One layer and call: `phases` with plain numbers (one schedule) on one machine (`broadcastable(resolve(...))`)."""
    return run_program(make_program(phases, r, options or EventOptions()))
