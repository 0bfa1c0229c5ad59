"""Two engines, one story: where the event engine and the closed forms differ, and why.

The closed forms know no queue: what shared parts delay below saturation, bursts, and how misses fall among hits. The stack of
each engine says what its time went into; the difference of the stacks says why, the stations of the event run say where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.events import EventRun, StationUse
from simulator.explain import time_stack
from simulator.machine import Machine
from simulator.predict import Prediction, predict, predict_events
from simulator.workload import Workload

AGREE = 0.05
"""Engines that differ by no more tell the same story."""

CONTENDED = 0.01
"""Waiting at stations that takes at least this share of all cores' time is contention."""


@dataclass(frozen=True)
class EngineDifference:
    """One prediction by both engines; seconds are of one layer and call.

    `reason`: the resource whose share of the time differs most, `reason_seconds` by how much (events minus closed forms).
    `station`: where packets waited longest in all, None where nothing waited. `contended`: whether that is worth a word.
    """

    analytic_seconds: float
    events_seconds: float
    reason: str
    reason_seconds: float
    station: StationUse | None
    contended: bool

    @property
    def ratio(self) -> float:
        """Events over closed forms."""
        return self.events_seconds / self.analytic_seconds

    @property
    def agrees(self) -> bool:
        """Within AGREE of each other."""
        return abs(self.ratio - 1.0) <= AGREE

    @property
    def sentence(self) -> str:
        """What a reader wants to know."""
        if self.agrees and not self.contended:
            return "agree: nothing contends"
        where = ""
        if self.station is not None and self.contended:
            use, waits = self.station.utilisation, self.station.mean_wait_ps / 1e3
            where = f"; packets wait {waits:.3g} ns at {self.station.name} ({use:.0%} in use)"
        if self.agrees:
            return f"agree{where}"
        share = self.reason_seconds / self.analytic_seconds
        return f"{self.reason} {share:+.0%} of the time{where}"


def both_engines(
    machine: Machine, workload: Workload, schedule: str | None = None
) -> tuple[Prediction, EngineDifference]:
    """The closed forms' prediction and how the event engine differs from it, one schedule for both."""
    base = predict(machine, workload, schedule=schedule)
    _, run = predict_events(machine, workload, schedule=base.schedule)
    stack = time_stack(machine, workload, base).seconds
    layers = base.layers
    return base, difference(base.seconds_per_call / layers, {name: s / layers for name, s in stack.items()}, run)


def difference(analytic_seconds: float, analytic_stack: Mapping[str, float], run: EventRun) -> EngineDifference:
    """Compares one layer and call: the closed forms' seconds and stack (same unit) with a run of the event engine."""
    events_stack = {name: ps * 1e-12 for name, ps in run.stack.items()}
    names = [*events_stack, *(name for name in analytic_stack if name not in events_stack)]
    gaps = {name: events_stack.get(name, 0.0) - analytic_stack.get(name, 0.0) for name in names}
    longer = run.seconds >= analytic_seconds
    reason = max(names, key=lambda name: gaps[name] if longer else -gaps[name])
    waited = [station for station in run.stations if station.packets and station.mean_wait_ps > 0]
    station = max(waited, key=lambda s: s.mean_wait_ps * s.packets, default=None)
    return EngineDifference(
        analytic_seconds=analytic_seconds,
        events_seconds=run.seconds,
        reason=reason,
        reason_seconds=gaps[reason],
        station=station,
        contended=_contended(run),
    )


def _contended(run: EventRun) -> bool:
    """Whether packets wait for long against what they take: at some station on average longer than one tenth of its service."""
    return any(
        s.packets and s.utilisation > 0.3 and s.mean_wait_ps * s.packets > CONTENDED * s.busy_ps for s in run.stations
    )
