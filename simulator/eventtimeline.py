"""A run of the event engine as a timeline: a track a core, a counter a station."""

from __future__ import annotations

from simulator.events import EventRun
from simulator.timeline import Sample, Slice, Timeline, Track

CORES = "cores"
MOST_STATIONS = 64
"""Counters of one timeline: the stations that packets waited for most; a socket has thousands of banks."""


def timeline_of(run: EventRun, facts: dict[str, float | int | str]) -> Timeline:
    """Phases of every core as slices, packets that wait at each station as counters, `facts` beside them.

    Waiting for other cores and synchronising are slices of their own, named as in the time stack.
    """
    slices = tuple(
        Slice(Track(CORES, f"core {core}"), name, start, duration, {"phase": run.phases[index].name})
        for core, index, name, start, duration in run.slices
    )
    chosen = _busiest(run)
    samples = tuple(
        Sample(Track(_group(run.stations[station].name), run.stations[station].name), "packets waiting", time, depth)
        for station, time, depth in run.counters
        if station in chosen
    )
    return Timeline(slices, samples, facts)


def _busiest(run: EventRun) -> set[int]:
    used = [i for i, station in enumerate(run.stations) if station.packets]
    used.sort(key=lambda i: (-run.stations[i].queue, i))
    return set(used[:MOST_STATIONS])


def _group(name: str) -> str:
    """'link' of 'link 3', 'L3' of 'L3 0.5' (slice 5 of instance 0): stations of a kind stand together."""
    return name.rsplit(" ", 1)[0]
