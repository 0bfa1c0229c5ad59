"""Where packets can wait: options of a run, and the stations between cores, caches, channels and sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simulator.eventprogram import Station
from simulator.resources import Resources

Placement = Literal["local", "interleaved", "first-touch"]
Dram = Literal["auto", "banks", "curve", "queue"]
Scheduling = Literal["static", "dynamic"]

PICO = 1e12
ONE = 1 << 60
"""A divisor that makes every choice 0: a group of one station."""


@dataclass(frozen=True)
class EventOptions:
    """How a run is made and which mechanisms count.

    `packet_lines`: lines of a packet, about. `packets`: of all cores and phases together, about. `placement` of arrays over
    sockets: every socket its own copy, lines over all sockets, or all on the first. `dram`: banks and row cycles, the
    loaded-latency curve, or plain channels; 'auto': the curve where the spec has one, else banks where it has a row cycle.
    `smt`: hardware threads a core, which share its lines in flight, bandwidth and arithmetic. `scheduling`: blocks of work dealt
    out beforehand, or `units` pieces (0: eight a core) that cores take as they come along.
    `slice_weights`, `channel_weights`: unequal use of last-level slices and memory channels (empty: equal).
    """

    packet_lines: float = 4.0
    packets: int = 200_000
    placement: Placement = "local"
    dram: Dram = "auto"
    smt: int = 1
    scheduling: Scheduling = "static"
    units: int = 0
    slice_weights: tuple[float, ...] = ()
    channel_weights: tuple[float, ...] = ()
    seed: int = 0


def picoseconds(seconds: Any) -> int:
    """Seconds as whole picoseconds."""
    return int(np.rint(float(seconds) * PICO))


@dataclass(frozen=True)
class Topology:
    """Where cores, caches, channels and sockets stand, and the stations between them. `cores`: hardware threads."""

    cores: int
    sockets: int
    channels: int
    banks: int
    stations: tuple[Station, ...]
    groups: tuple[tuple[int, ...], ...]
    index: dict[str, int]
    first: dict[str, int]
    slices: dict[int, int]

    def socket(self, core: int) -> int:
        """Socket of a core."""
        return core * self.sockets // self.cores


def dram_mode(r: Resources, options: EventOptions) -> Dram:
    if options.dram != "auto":
        return options.dram
    return "curve" if r.loaded_latency else "banks" if r.dram_row_cycle_seconds > 0.0 else "queue"


def topology(r: Resources, options: EventOptions) -> Topology:
    """Stations of `r` that can be waited for: those with a finite rate."""
    cores, sockets = int(r.threads) * options.smt, int(r.sockets)
    channels = int(r.memory_channels)
    banks = int(r.dram_banks) if dram_mode(r, options) == "banks" else 1
    stations: list[Station] = []
    groups: list[list[int]] = [[] for _ in range(cores)]
    index: dict[str, int] = {}
    first: dict[str, int] = {}
    slices: dict[int, int] = {}

    def place(name: str, resource: str, count: int, owner: list[int], each: int = 1) -> None:
        """`count` owners with `each` stations; `owner` of every core."""
        index[name], first[name] = len(index), len(stations)
        for core in range(cores):
            groups[core].append(len(stations) + owner[core] * each)
        stations.extend(
            Station(f"{name} {i}" if each == 1 else f"{name} {i}.{j}", resource)
            for i in range(count)
            for j in range(each)
        )

    socket = [core * sockets // cores for core in range(cores)]
    if options.smt > 1:
        physical = [core // options.smt for core in range(cores)]
        place("core issue", "compute", int(r.threads), physical)
        place("core port", "memory bandwidth", int(r.threads), physical)
    if options.scheduling == "dynamic":
        place("counter", "synchronisation", 1, [0] * cores)
    for level in range(1, len(r.levels)):
        sharers = max(int(r.levels[level].sharers), 1) * options.smt
        owner = _instances(socket, sharers)
        outermost = level == len(r.levels) - 1
        if np.isfinite(r.levels[level].instance_bytes_per_second) or (
            outermost and np.isfinite(r.slice_bytes_per_second)
        ):
            slices[level] = int(r.last_level_slices) if outermost else 1
            place(f"L{level + 1}", f"L{level + 1}", max(owner) + 1, owner, slices[level])
        if outermost and np.isfinite(r.link_bytes_per_second):
            place("link", "memory bandwidth", max(owner) + 1, owner)
    zero = [0] * cores
    if sockets > 1 and np.isfinite(r.numa_bytes_per_second):
        place("socket link", "memory bandwidth", sockets, socket, sockets)
    if np.isfinite(r.mesh_bytes_per_second):
        place("mesh", "memory bandwidth", 1, zero, sockets)
    if banks > 1:
        place("banks", "memory bandwidth", 1, zero, sockets * channels * banks)
    place("channel", "memory bandwidth", 1, zero, sockets * channels)
    return Topology(cores, sockets, channels, banks, tuple(stations), tuple(map(tuple, groups)), index, first, slices)


def _instances(socket: list[int], sharers: int) -> list[int]:
    """Instance of every core: `sharers` neighbours of one socket each."""
    owner: list[int] = []
    first = inside = 0
    for core, place in enumerate(socket):
        if core and place != socket[core - 1]:
            first, inside = owner[-1] + 1, 0
        owner.append(first + inside // sharers)
        inside += 1
    return owner
