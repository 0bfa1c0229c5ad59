"""The input of the event engine: whole numbers only, so that a stored program runs bit for bit alike on every host.

Times are picoseconds. A *packet* is some consecutive lines of one stream from one source; its *kind* says what they cost. A
core issues the packets of each of its *lanes* (demand, prefetch) in order, as credits of the lane become free; on the
way they pass *stations*, servers with a queue. `eventplan` makes programs of phases; tests and users may write their own.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

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
    """One station of a route: `first` of the core's group `group` + choice // `divisor`, kept busy for `service_ps`.

    `spread` > 1: so many stations of the `count` of the group, one after another from the chosen one on, share the service, as
    lines of a packet do that an address hash deals out; the packet waits as its lines do on average.
    """

    group: int
    service_ps: int
    divisor: int = 1
    spread: int = 1
    count: int = 1


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
    """Dynamic scheduling: pieces of work that cores take from a counter in a shared line, whose way to the next core keeps
    `station` busy for `grab_ps`. `pieces[side][piece]`: packets by lane, as a core of that side (a socket) meets them, to which
    some memory is near and other memory far. `sides`: of each work of the phase."""

    station: int
    grab_ps: int
    sides: tuple[int, ...]
    pieces: tuple[tuple[tuple[Lane, ...], ...], ...]


@dataclass(frozen=True)
class ProgramPhase:
    """Packets of all cores between two points where they may wait for each other. With `dynamic` units the lanes of `works` are
    empty and only say how they start.

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


def from_json(text: str, name: str = "program") -> EventProgram:
    """Reads what `to_json` wrote. Raises ProgramError naming `name`, the place and the rule."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ProgramError(f"{name}: not JSON: {error}") from None
    if not isinstance(data, dict) or data.pop("format_version", None) != FORMAT_VERSION:
        raise ProgramError(f"{name}: format_version: must be {FORMAT_VERSION}")
    program: EventProgram = _read(EventProgram, data, name)
    _check(program, name)
    return program


def _read(wanted: Any, value: Any, place: str) -> Any:
    """`value` as the type `wanted`: whole numbers, text, tuples, dataclasses of these."""
    if wanted is int or wanted is str:
        if type(value) is not wanted:
            raise ProgramError(f"{place}: must be {'a whole number' if wanted is int else 'text'}, found {value!r:.40}")
        if isinstance(value, int) and value < (-1 if place.endswith(".norm") else 0):
            raise ProgramError(f"{place}: must not be negative, found {value}")
        return value
    if isinstance(wanted, UnionType):
        return None if value is None else _read(next(t for t in get_args(wanted) if t is not NoneType), value, place)
    if is_dataclass(wanted):
        return _read_record(wanted, value, place)
    items = get_args(wanted)
    if get_origin(wanted) is not tuple or not isinstance(value, list):
        raise ProgramError(f"{place}: must be a list, found {value!r:.40}")
    if items[-1] is Ellipsis:
        return tuple(_read(items[0], item, f"{place}[{i}]") for i, item in enumerate(value))
    if len(value) != len(items):
        raise ProgramError(f"{place}: must have {len(items)} entries, found {len(value)}")
    return tuple(_read(kind, item, f"{place}[{i}]") for i, (kind, item) in enumerate(zip(items, value, strict=True)))


def _read_record(wanted: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise ProgramError(f"{place}: must be an object, found {value!r:.40}")
    types = get_type_hints(wanted)
    unknown = sorted(set(value) - set(types))
    if unknown:
        raise ProgramError(f"{place}: unknown key {unknown[0]!r}")
    missing = [f.name for f in fields(wanted) if f.name not in value and f.default is MISSING]
    if missing:
        raise ProgramError(f"{place}: {missing[0]!r} is missing")
    return wanted(**{key: _read(types[key], item, f"{place}.{key}") for key, item in value.items()})


def _check(program: EventProgram, name: str) -> None:
    """Numbers that name something name something that exists."""
    if len(program.groups) != program.cores or not program.cores:
        raise ProgramError(f"{name}.groups: must have one entry for each of {program.cores} cores, at least one")
    if any(station.servers < 1 for station in program.stations):
        raise ProgramError(f"{name}.stations: servers must be at least 1")
    if any(len(table) != STEPS + 1 for table in program.norms):
        raise ProgramError(f"{name}.norms: a table must have {STEPS + 1} entries")
    for number, phase in enumerate(program.phases):
        _check_phase(program, phase, f"{name}.phases[{number}]")


def _check_phase(program: EventProgram, phase: ProgramPhase, place: str) -> None:
    if phase.extend[1] < 1:
        raise ProgramError(f"{place}.extend: the denominator must be at least 1")
    for index, kind in enumerate(phase.kinds):
        if kind.norm >= len(program.norms) or kind.charge > CREDITS:
            raise ProgramError(f"{place}.kinds[{index}]: norm must exist, charge be at most {CREDITS}")
        if any(stop.divisor < 1 or stop.spread < 1 or stop.count < 1 for stop in kind.route):
            raise ProgramError(f"{place}.kinds[{index}].route: divisor, spread and count must be at least 1")
    for index, work in enumerate(phase.works):
        if work.core >= program.cores:
            raise ProgramError(f"{place}.works[{index}].core: there are {program.cores} cores")
        groups = program.groups[work.core]
        for lane in (*work.lanes, *(lane for piece in _pieces(phase, index, place) for lane in piece)):
            _check_lane(program, phase, lane, groups, f"{place}.works[{index}]")


def _pieces(phase: ProgramPhase, index: int, place: str) -> tuple[tuple[Lane, ...], ...]:
    """Pieces that work `index` may take."""
    units = phase.dynamic
    if units is None:
        return ()
    if len(units.sides) != len(phase.works) or len({len(pieces) for pieces in units.pieces}) != 1:
        raise ProgramError(f"{place}.dynamic: sides must have one entry for each work, and all sides as many pieces")
    if units.sides[index] >= len(units.pieces):
        raise ProgramError(f"{place}.dynamic.sides[{index}]: there are {len(units.pieces)} sides")
    pieces = units.pieces[units.sides[index]]
    if any(len(piece) != len(phase.works[index].lanes) for piece in pieces):
        raise ProgramError(f"{place}.dynamic: pieces must have as many lanes as the work that takes them")
    return pieces


def _check_lane(program: EventProgram, phase: ProgramPhase, lane: Lane, groups: tuple[int, ...], place: str) -> None:
    if (
        len(lane.kinds) != len(lane.choices)
        or (lane.starts and len(lane.starts) != len(lane.kinds))
        or lane.ramp_steps < 1
    ):
        raise ProgramError(f"{place}: kinds, choices and starts must be of one length, ramp_steps at least 1")
    for kind, choice in set(zip(lane.kinds, lane.choices, strict=True)):
        if kind >= len(phase.kinds):
            raise ProgramError(f"{place}: kind {kind} does not exist")
        for stop in phase.kinds[kind].route:
            last = (
                0
                if stop.group >= len(groups)
                else groups[stop.group] + (choice // stop.divisor if stop.spread == 1 else stop.count - 1)
            )
            if stop.group >= len(groups) or last >= len(program.stations):
                raise ProgramError(f"{place}: a packet of kind {kind} goes to a station that does not exist")
        if phase.kinds[kind].load_divisor and choice // phase.kinds[kind].load_divisor >= len(program.curves):
            raise ProgramError(f"{place}: a packet of kind {kind} has no load curve")
