"""The input of the event engine: whole numbers only, so that a stored program runs bit for bit alike on every host.

Times are picoseconds. A *packet* is some consecutive lines of one stream from one source; its *kind* says what they cost. A
core issues the packets of each of its *lanes* (demand, prefetch) in order, as credits of the lane become free; on the
way they pass *stations*, servers with a queue. `eventplan` makes programs of phases; tests and users may write their own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

FORMAT_VERSION = 1

CREDITS = 5_354_228_880
"""All credits of one lane: the least common multiple of 1 to 24, so that the usual windows divide it."""

LANES = ("demand", "prefetch")
STEPS = 256
"""Pieces of a norm table."""
NORM_UNIT = 1 << 30
"""1.0 in a norm table."""

FREE, WAITS, BLOCKS = 0, 1, 2
"""Order of a packet in its lane: credits come back when it is done; not before all blocking ones before it; blocks others."""


class ProgramError(ValueError):
    """A program that cannot be read or does not hold together: one message with its place."""


@dataclass(frozen=True)
class Station:
    """`servers` equal servers behind one first-come, first-served queue. `resource`: where waits for it are accounted."""

    name: str
    resource: str
    servers: int = 1


@dataclass(frozen=True)
class Stop:
    """One station of a route: `first` of the core's group `group` + choice // `divisor`, kept busy for `service_ps`."""

    group: int
    service_ps: int
    divisor: int = 1


@dataclass(frozen=True)
class Kind:
    """What a packet costs.

    `charge`: credits it holds. `latency_ps`: response without any queue, services included. `floor_ps`: least response, from
    the core's own bandwidth. `arithmetic_ps`: core time that overlaps with the response by norm `norm` (-1: none), in the
    time of a full lane. `extra_ps`: held on top. `order`: FREE, WAITS or BLOCKS. `load_divisor`: the load curve of its last
    stop is number choice // `load_divisor`; 0: none.
    """

    name: str
    lane: int
    charge: int
    latency_ps: int
    route: tuple[Stop, ...] = ()
    floor_ps: int = 0
    arithmetic_ps: int = 0
    norm: int = -1
    extra_ps: int = 0
    order: int = FREE
    load_divisor: int = 0


@dataclass(frozen=True)
class Lane:
    """Packets of one core in one lane: kinds and choices (which station of a group), in order of issue.

    `ramp_ps`, `ramp_steps`: credits become free over that time at the start, as they do in the middle of a phase.
    `starts`: earliest times of issue, or empty.
    """

    kinds: tuple[int, ...]
    choices: tuple[int, ...]
    ramp_ps: int = 0
    ramp_steps: int = 1
    starts: tuple[int, ...] = ()


@dataclass(frozen=True)
class CoreWork:
    """One core's part of a phase. `offset_ps`: when it starts, so that cores do not march in step (not counted). `plain_ps`: time
    beside no packet. `least_ps`: what handing over lines to other cores takes, beside everything else."""

    core: int
    lanes: tuple[Lane, ...]
    offset_ps: int = 0
    plain_ps: int = 0
    least_ps: int = 0


@dataclass(frozen=True)
class Units:
    """Dynamic scheduling: every core's packets in `count` pieces that any core takes from a shared counter."""

    grab_ps: int
    station: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ProgramPhase:
    """Packets of all cores between two points where they may wait for each other.

    `extend`: (numerator, denominator) from simulated to real time. `shares`: uncontended time of the slowest core by
    resource. `barrier_ps`: cost of the barriers at the end, after which all go on together; 0: none.
    """

    name: str
    kinds: tuple[Kind, ...]
    works: tuple[CoreWork, ...]
    extend: tuple[int, int] = (1, 1)
    shares: tuple[tuple[str, int], ...] = ()
    barrier_ps: int = 0
    calls_ps: int = 0
    dynamic: Units | None = None


@dataclass(frozen=True)
class LoadCurve:
    """Added latency against the use of a set of stations: `added_ps` at 0, 1/n, ..., 1 of `capacity_ps` of service in a window
    of `window_ps`."""

    window_ps: int
    servers: int
    added_ps: tuple[int, ...]


@dataclass(frozen=True)
class EventProgram:
    """A run of `cores` cores. `groups[core][group]`: first station of each group of stations that the core uses."""

    cores: int
    stations: tuple[Station, ...]
    groups: tuple[tuple[int, ...], ...]
    norms: tuple[tuple[int, ...], ...]
    phases: tuple[ProgramPhase, ...]
    curves: tuple[LoadCurve, ...] = ()


def hold(response: int, floor: int, arithmetic: int, norm: Any, extra: int) -> int:
    """How long credits are held: response (at least `floor`) and arithmetic overlapped, (a^e + r^e)^(1/e) from the table of e
    in units of 1."""
    if response < floor:
        response = floor
    if arithmetic == 0 or norm is None:
        return response + extra
    low, high = (arithmetic, response) if arithmetic < response else (response, arithmetic)
    position = low / high * STEPS
    index = int(position)
    if index >= STEPS:
        index = STEPS - 1
    return int(high * (norm[index] + (norm[index + 1] - norm[index]) * (position - index)) + 0.5) + extra


def to_json(program: EventProgram) -> str:
    """The program as one JSON object."""
    return json.dumps({"format_version": FORMAT_VERSION, **asdict(program)}, separators=(",", ":"))
