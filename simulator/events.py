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

from simulator.eventaccount import Account, EventRun, LaneOutcome, Outcome, PhaseRun, StationUse
from simulator.eventplaces import EventOptions
from simulator.eventplan import make_program
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
    idle: int = 0
    dry: Any = None
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
        self.environment: Any = simpy.Environment(
            initial_time=0
        )  # its time is whole here; SimPy's types say int | float
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
        self.units = phase.dynamic
        self.taken = 0
        for index, (work, states) in enumerate(zip(phase.works, self.lanes, strict=True)):
            self.environment.process(self._core(index, work, states))

    def _compiled(self, kind: Kind) -> tuple[Any, ...]:
        """Fields in the order in which `_issue` and `_travel` take them apart, with the hold and the end of an idle packet."""
        norm = self.norms[kind.norm] if kind.norm >= 0 else None
        parts = (kind.floor_ps, kind.arithmetic_ps, norm, kind.extra_ps)
        idle = hold(kind.latency_ps, *parts)
        route = tuple((stop.group, stop.service_ps, stop.divisor, stop.spread, stop.count) for stop in kind.route)
        own = idle * kind.charge // CREDITS - idle  # from when it is done to when the next would be, queues aside
        return kind.charge, kind.latency_ps, route, parts, idle, own, kind.order, kind.load_divisor

    def _start(self, work: CoreWork, groups: tuple[int, ...]) -> list[_LaneState]:
        states = []
        for lane in work.lanes:
            steps = lane.ramp_steps
            state = _LaneState(work.core, (), (), lane.starts, groups, 0)
            for step in range(steps):
                part = CREDITS * (step + 1) // steps - CREDITS * step // steps
                self._at(work.offset_ps + lane.ramp_ps * step // steps, self._ramp, (state, part))
            states.append(state)
        return states

    def _core(self, index: int, work: CoreWork, lanes: list[_LaneState]) -> Any:
        """A core as a process: it issues what it has; under dynamic scheduling it takes pieces until none is left."""
        yield self.environment.timeout(0)
        for lane, own in zip(lanes, work.lanes, strict=True):
            self._load(lane, own.kinds, own.choices)
        units = self.units
        pieces = units.pieces[units.sides[index]] if units is not None else ()
        while units is not None and self.taken < len(pieces):
            piece = pieces[self.taken]
            self.taken += 1
            grab = self.stations.enter(units.station, units.grab_ps, self.environment.now) + units.grab_ps
            for lane in lanes:
                lane.waits["synchronisation"] = lane.waits.get("synchronisation", 0) + grab * CREDITS
            yield self.environment.timeout(grab)
            for lane in lanes:
                lane.dry = self.environment.event()
            dry = [lane.dry for lane in lanes]
            for lane, part in zip(lanes, piece, strict=True):
                self._load(lane, part.kinds, part.choices)
            yield self.environment.all_of(dry)

    def _load(self, lane: _LaneState, kinds: tuple[int, ...], choices: tuple[int, ...]) -> None:
        """Gives a lane its next packets."""
        lane.kinds, lane.choices, lane.position = kinds, choices, 0
        lane.idle += sum(self.kinds[kind][0] * self.kinds[kind][4] for kind in kinds)
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
        if position == count and lane.dry is not None:
            dry, lane.dry = lane.dry, None
            dry.succeed()

    def _arrive(self, event: Any) -> None:
        self._travel(event.value)

    def _travel(self, packet: _Packet) -> None:
        """Through the stations from `packet.stop` on, until it has to wait at one that is not the last."""
        now = self.environment.now
        kind, lane, stations = packet.kind, packet.lane, self.stations
        route = kind[2]
        last = len(route) - 1
        while True:
            group, service, divisor, spread, count = route[packet.stop]
            if spread == 1:
                station = lane.groups[group] + packet.choice // divisor
                wait = stations.enter(station, service, now)
            else:
                first, choice = lane.groups[group], packet.choice // divisor
                wait = 0
                for line in range(spread):
                    station = first + (choice + line) % count
                    wait += stations.enter(station, service, now)
                wait //= spread
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

    def run(self) -> Outcome:
        """Until nothing happens any more."""
        self.environment.run()
        lanes = tuple(
            tuple(LaneOutcome(lane.end, lane.idle // CREDITS, _time(lane.waits)) for lane in states)
            for states in self.lanes
        )
        use = self.stations
        return Outcome(
            lanes,
            tuple(zip(use.busy, use.packets, use.waited, use.worst, strict=True)),
            tuple(self.counters),
            self.events,
        )


def _time(waits: dict[str, int]) -> dict[str, int]:
    """Waits weighted by credits, as time of the lane."""
    return {name: wait // CREDITS for name, wait in waits.items()}


def run_program(program: EventProgram) -> EventRun:
    """Runs `program`: phases one after another, each from an empty machine, all cores entering it together."""
    account = Account(program)
    for index, phase in enumerate(program.phases):
        account.add(index, phase, _PhaseSimulation(program, phase).run())
    return account.result()


def run_phases(phases: tuple[Phase, ...], r: Resources, options: EventOptions | None = None) -> EventRun:
    """One layer and call: `phases` with plain numbers (one schedule) on one machine (`broadcastable(resolve(...))`)."""
    return run_program(make_program(phases, r, options or EventOptions()))


__all__ = ["EventOptions", "EventRun", "PhaseRun", "StationUse", "run_phases", "run_program"]
