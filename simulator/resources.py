"""What a number of cores of one machine offer: rates, latencies and capacities at their actual clock.

`resolve` turns a `Machine` into this flat record once; lowering and the engines read nothing else. Every field is a
float or an array of shape (points, 1) that broadcasts against the schedule axis.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from simulator.machine import CacheLevel, Curve, Machine, MatrixUnit, interpolate_log

Number = Any
"""A float, or an array that broadcasts (points x schedules)."""

_CLOCK_FALLBACK = {"amx": ("amx", "avx512", "avx2", "scalar"), "avx512": ("avx512", "avx2", "scalar"),
                   "avx2": ("avx2", "scalar"), "neon": ("neon", "scalar"), "scalar": ("scalar",)}  # fmt: skip


@dataclass(frozen=True)
class LevelResources:
    """One cache level beyond the registers, as one core or one instance of it sees it.

    `capacity_bytes`: what one instance keeps, with the inner levels added where it holds none of their lines. `ways`: lines of
    one set, `added_ways` of them in the inner level.
    `sharers`: active cores on one instance. `shared`: more than one core hangs on an instance by design,
    so that reuse by a sibling counts.
    """

    capacity_bytes: Number
    sharers: Number
    instances: Number
    shared: Number
    latency_seconds: Number
    core_bytes_per_second: Number
    write_bytes_per_second: Number
    instance_bytes_per_second: Number
    cyclic_miss_curve: Curve
    random_miss_curve: Curve
    ways: Number = 8.0
    added_ways: Number = 0.0


@dataclass(frozen=True)
class Resources:
    """`threads` physical cores of one machine at the clock they reach together."""

    threads: Number
    sockets: Number
    vector_hz: Number
    tile_hz: Number
    lanes: Number
    fma_per_cycle: Number
    dot_bf16_per_cycle: Number
    dot_int16_per_cycle: Number
    dot_int8_per_cycle: Number
    alu_per_cycle: Number
    convert_per_cycle: Number
    exp_cycles_per_vector: Number
    fma_latency_cycles: Number
    dot_latency_cycles: Number
    registers: Number
    gather_per_cycle: Number
    issue_width: Number
    load_bytes_per_cycle: Number
    store_bytes_per_cycle: Number
    tile_rows: Number
    tile_bytes_per_cycle: Number
    """Products of one tile operation per cycle, counted in operand bytes: rows * columns * row bytes / cycles; 0: no unit."""
    window_uops: Number
    row_start_seconds: Number
    """What a random row takes from a cache beyond its bytes."""
    row_load_share: Number
    """Share of the load ports' rate that random rows reach in the first level."""
    demand_lines: Number
    row_lines: Number
    stream_lines: Number
    software_lines: Number
    line_bytes: Number
    levels: tuple[LevelResources, ...]
    memory_latency_seconds: Number
    memory_core_bytes_per_second: Number
    memory_bytes_per_second: Number
    memory_peak_bytes_per_second: Number
    memory_write_penalty: Number
    link_bytes_per_second: Number
    last_level_instances: Number
    tlb_reach_4k_bytes: Number
    tlb_reach_2m_bytes: Number
    tlb_miss_seconds: Number
    """A page walk where others run beside it."""
    tlb_walk_seconds: Number
    """A page walk that somebody waits for."""
    tlb_near_4k_bytes: Number
    """What the first-level TLB reaches."""
    tlb_near_2m_bytes: Number
    tlb_second_seconds: Number
    """What the second-level TLB adds where the first has no entry."""
    kernel_efficiency: Number
    gemm_efficiency: dict[str, Curve]
    library_overlap: tuple[Number, Number]
    kernel_overlap: tuple[Number, Number]
    row_overlap: tuple[Number, Number]
    library_call_seconds: Number
    library_call_int8_seconds: Number
    barrier_seconds: Number
    library_barrier_seconds: Number
    smt_demand_lines: Number
    """demand_lines of a core whose sibling threads run."""
    core_to_core_seconds: Number
    """Until a core has a line that another core of its last-level cache wrote."""
    core_to_core_far_seconds: Number
    """The same across last-level caches."""
    last_level_slices: Number
    """Address-hashed slices of one instance of the outermost cache."""
    slice_bytes_per_second: Number
    mesh_bytes_per_second: Number
    """Fabric of one socket between last level and memory; infinity: not modelled."""
    memory_channels: Number
    """Of one socket."""
    memory_channel_headroom: Number
    """Rate of a channel that is never idle over its share of memory_bytes_per_second, see `_channel_headroom`."""
    dram_banks: Number
    """Of one channel, over its ranks."""
    dram_row_bytes: Number
    dram_row_cycle_seconds: Number
    """tRC: from opening a row of a bank to opening the next one of the same bank; 0: not modelled."""
    dram_interleave_bytes: Number
    loaded_latency: Curve
    """(share of memory_bytes_per_second in use, latency as a multiple of memory_latency_seconds); empty: not modelled."""
    numa_latency_seconds: Number
    """What memory of another socket adds to memory_latency_seconds."""
    numa_bytes_per_second: Number
    """Links to another socket, one direction; infinity: not modelled."""
    smt_threads: Number
    """Hardware threads of one core."""


def vector_class(machine: Machine) -> str:
    """The instruction class whose clock full-width vector code runs at."""
    if any(name in machine.isa for name in ("neon", "sve")):
        return "neon"
    return "avx512" if "avx512" in machine.isa else "avx2" if "avx2" in machine.isa else "scalar"


def clock_hz(machine: Machine, instruction_class: str, active_cores: Any) -> Any:
    """Core frequency with `active_cores` cores of a socket busy in `instruction_class` code."""
    for name in _CLOCK_FALLBACK[instruction_class]:
        curve: Curve = getattr(machine.clock, name)
        if curve:
            return interpolate_log(curve, active_cores)
    raise ValueError("clock.scalar is empty")


def _flag(cores_per_instance: Any) -> Any:
    return cores_per_instance > 1.0 if np.ndim(cores_per_instance) else bool(cores_per_instance > 1.0)


def _level(
    machine: Machine, level: CacheLevel, inner_bytes: Any, per_socket: Any, threads: Any, hz: Any
) -> LevelResources:
    sharers = np.minimum(np.maximum(level.cores_per_instance, 1.0), per_socket)
    instances = np.ceil(threads / np.minimum(level.cores_per_instance, np.maximum(per_socket, 1.0)))
    adds_inner = 0.0 if level.inclusion == "inclusive" else 1.0
    core_rate = level.bandwidth.at(hz)
    write_rate = core_rate if level.write_bandwidth is None else level.write_bandwidth.at(hz)
    instance_rate = np.inf if level.shared_bandwidth is None else level.shared_bandwidth.at(hz)
    own_bytes = level.size_bytes * level.available_fraction
    added = adds_inner * sharers * inner_bytes
    return LevelResources(
        capacity_bytes=own_bytes + added,
        sharers=sharers,
        instances=instances,
        shared=_flag(level.cores_per_instance),
        latency_seconds=level.latency.at(hz),
        core_bytes_per_second=core_rate,
        write_bytes_per_second=write_rate,
        instance_bytes_per_second=instance_rate,
        cyclic_miss_curve=level.cyclic_miss_curve,
        random_miss_curve=level.random_miss_curve,
        ways=level.ways * (1.0 + added / own_bytes),
        added_ways=level.ways * added / own_bytes,
    )


def _levels(machine: Machine, per_socket: Any, threads: Any, hz: Any) -> tuple[LevelResources, ...]:
    """Every cache level, innermost first; from the third on a level may add the capacity of the one inside it."""
    resolved, inner = [], 0.0
    for index, level in enumerate(machine.caches.levels()):
        resolved.append(_level(machine, level, inner if index >= 2 else 0.0, per_socket, threads, hz))
        inner = level.size_bytes / level.cores_per_instance if index >= 1 else 0.0
    return tuple(resolved)


def _stream_rate(machine: Machine) -> Any:
    """What one core streams from memory: lines in flight x line / latency (Little's law), or the stated limit."""
    memory = machine.memory
    lines = machine.core.demand_lines_in_flight + machine.prefetcher.stream_lines_in_flight
    little = lines * machine.caches.L1.line_bytes / memory.latency_seconds
    limit = memory.core_bandwidth_bytes_per_second
    return little if limit is None else np.minimum(little, limit)


def _or(value: Any, otherwise: float) -> Any:
    return otherwise if value is None else value


def _or_infinity(limit: Any) -> Any:
    return _or(limit, np.inf)


DRAM_BANKS, DRAM_ROW_BYTES, INTERLEAVE_BYTES = 16.0, 8192.0, 256.0
"""Where a spec states none: a rank of DDR4 (JESD79-4: 16 banks, rows of 1 KiB on each of eight x8 devices), and four lines."""


def _between(machine: Machine, levels: tuple[LevelResources, ...], hz: Any) -> dict[str, Any]:
    """Fields of Resources about what lies between cores, slices and sockets.

    Where a spec states no core-to-core latency: the outermost cache is asked and the owner answers through it, twice its
    latency; a request to another last-level cache leaves by the way to memory and takes at least its latency.
    """
    net, last, outermost = machine.interconnect, machine.caches.levels()[-1], levels[-1]
    near = 2.0 * outermost.latency_seconds if net.core_to_core is None else net.core_to_core.at(hz)
    far = np.maximum(near, machine.memory.latency_seconds)
    slices = last.cores_per_instance if last.slices is None else last.slices
    even = outermost.instance_bytes_per_second / slices
    return {
        "core_to_core_seconds": near,
        "core_to_core_far_seconds": far if net.core_to_core_far is None else net.core_to_core_far.at(hz),
        "last_level_slices": slices,
        "slice_bytes_per_second": even if last.slice_bandwidth is None else last.slice_bandwidth.at(hz),
        "mesh_bytes_per_second": _or_infinity(net.mesh_bandwidth_bytes_per_second),
        "numa_latency_seconds": _or(net.socket_latency_seconds, 0.0),
        "numa_bytes_per_second": _or_infinity(net.socket_bandwidth_bytes_per_second),
        "smt_threads": machine.threads_per_core,
    }


def _channel_headroom(machine: Machine) -> Any:
    """What a channel can do over what the measured bandwidth shows of it: at any moment some channels have nothing to do while
    others have queues, in the measurement too, so the event engine must not lose it twice.

    The measurement is a sweep by all cores of a socket. What their lines in flight hold beyond latency x bandwidth is at the
    channels, a pieces of `interleave` each; a single server with Poisson arrivals and fixed service holds
    rho + rho^2 / (2 (1 - rho)) pieces (Pollaczek-Khinchine), so it is busy for rho = 1 + a - sqrt(1 + a^2) of the time. No more
    than the pins carry.
    """
    core, memory = machine.core, machine.memory
    line = machine.caches.levels()[0].line_bytes
    lines = (core.demand_lines_in_flight + machine.prefetcher.stream_lines_in_flight) * machine.cores_per_socket
    waiting = lines * line - memory.latency_seconds * memory.read_bandwidth_bytes_per_second
    a = np.maximum(waiting / _or(memory.interleave_bytes, INTERLEAVE_BYTES) / memory.channels, 1e-3)
    pins = memory.bandwidth_bytes_per_second / memory.read_bandwidth_bytes_per_second
    return np.maximum(np.minimum(1.0 / (1.0 + a - np.sqrt(1.0 + a * a)), pins), 1.0)


def _dram(machine: Machine) -> dict[str, Any]:
    """Fields of Resources about banks, rows and queues of the memory."""
    memory = machine.memory
    return {
        "memory_channels": memory.channels,
        "memory_channel_headroom": _channel_headroom(machine),
        "dram_banks": _or(memory.banks_per_channel, DRAM_BANKS),
        "dram_row_bytes": _or(memory.row_bytes, DRAM_ROW_BYTES),
        "dram_row_cycle_seconds": _or(memory.row_cycle_seconds, 0.0),
        "dram_interleave_bytes": _or(memory.interleave_bytes, INTERLEAVE_BYTES),
        "loaded_latency": memory.loaded_latency,
    }


def _tile_rate(matrix: MatrixUnit | None) -> Any:
    """Operand products of the matrix unit in bytes a cycle; 0 without one."""
    if matrix is None:
        return 0.0
    return matrix.tile_rows * matrix.tile_columns * matrix.tile_row_bytes / matrix.cycles_per_operation


def resolve(machine: Machine, threads: Any) -> Resources:
    """Resources of `threads` cores, placed on consecutive cores of as few sockets as hold them.

    Sockets beyond the first bring their own memory and caches; remote access is not charged (tables and weights are
    taken to be local or replicated).
    """
    core, vector, memory, software = machine.core, machine.core.vector, machine.memory, machine.software
    sockets = np.ceil(threads / machine.cores_per_socket)
    per_socket = threads / sockets
    hz = clock_hz(machine, vector_class(machine), per_socket)
    tile_hz = clock_hz(machine, "amx", per_socket) if core.matrix is not None else hz
    levels = _levels(machine, per_socket, threads, hz)
    matrix = core.matrix
    doublings = np.log2(np.maximum(threads, 1.0))
    walk = machine.tlb.walk.at(hz) + machine.tlb.l2_latency_cycles / hz
    several = np.minimum(threads - 1.0, 1.0)
    return Resources(
        threads=threads,
        sockets=sockets,
        vector_hz=hz,
        tile_hz=tile_hz,
        lanes=vector.width_bits / 32.0,
        fma_per_cycle=vector.fma_per_cycle,
        dot_bf16_per_cycle=vector.dot_bf16_per_cycle,
        dot_int16_per_cycle=vector.dot_int16_per_cycle,
        dot_int8_per_cycle=vector.dot_int8_per_cycle,
        alu_per_cycle=vector.alu_per_cycle,
        convert_per_cycle=vector.convert_per_cycle,
        exp_cycles_per_vector=vector.exp_cycles_per_vector,
        fma_latency_cycles=vector.fma_latency_cycles,
        dot_latency_cycles=vector.dot_latency_cycles,
        registers=vector.registers,
        gather_per_cycle=_or(vector.gather_per_cycle, 1.0),
        issue_width=core.issue_width,
        load_bytes_per_cycle=core.load_bytes_per_cycle,
        store_bytes_per_cycle=core.store_bytes_per_cycle,
        tile_rows=1.0 if matrix is None else matrix.tile_rows,
        tile_bytes_per_cycle=_tile_rate(matrix),
        window_uops=core.vector_window_uops,
        row_start_seconds=_or(core.row_start_cycles, 0.0) / hz,
        row_load_share=_or(core.row_load_share, 1.0),
        demand_lines=core.demand_lines_in_flight,
        row_lines=machine.prefetcher.row_lines_in_flight,
        smt_demand_lines=_or(core.smt_demand_lines_in_flight, core.demand_lines_in_flight),
        stream_lines=machine.prefetcher.stream_lines_in_flight,
        software_lines=machine.prefetcher.software_lines_in_flight,
        line_bytes=machine.caches.levels()[0].line_bytes,
        levels=levels,
        memory_latency_seconds=memory.latency_seconds,
        memory_core_bytes_per_second=_stream_rate(machine),
        memory_bytes_per_second=memory.read_bandwidth_bytes_per_second * sockets,
        memory_peak_bytes_per_second=memory.bandwidth_bytes_per_second * sockets,
        memory_write_penalty=memory.write_share_penalty,
        link_bytes_per_second=_or_infinity(memory.link_bandwidth_bytes_per_second),
        last_level_instances=levels[-1].instances,
        tlb_reach_4k_bytes=machine.tlb.l2_entries_4k * 4096.0,
        tlb_reach_2m_bytes=machine.tlb.l2_entries_2m * 2097152.0,
        tlb_miss_seconds=walk / machine.tlb.page_walkers,
        tlb_walk_seconds=walk,
        tlb_near_4k_bytes=machine.tlb.l1_entries_4k * 4096.0,
        tlb_near_2m_bytes=machine.tlb.l1_entries_2m * 2097152.0,
        tlb_second_seconds=machine.tlb.l2_latency_cycles / hz,
        kernel_efficiency=software.kernel_efficiency,
        gemm_efficiency={
            "fp32": software.gemm_efficiency_fp32,
            "bf16": software.gemm_efficiency_bf16,
            "int8": software.gemm_efficiency_int8,
            "tile": software.gemm_efficiency_tile,
        },
        library_overlap=(software.library_overlap_cache, software.library_overlap_memory),
        kernel_overlap=(software.kernel_overlap_cache, software.kernel_overlap_memory),
        row_overlap=(
            _or(software.row_overlap_cache, software.kernel_overlap_cache),
            _or(software.row_overlap_memory, software.kernel_overlap_memory),
        ),
        library_call_seconds=software.library_call.at(hz),
        library_call_int8_seconds=(software.library_call_int8 or software.library_call).at(hz),
        barrier_seconds=several * (software.barrier.at(hz) + doublings * software.barrier_per_doubling.at(hz)),
        library_barrier_seconds=several
        * ((software.library_barrier or software.barrier).at(hz) + doublings * software.barrier_per_doubling.at(hz)),
        **_between(machine, levels, hz),
        **_dram(machine),
    )


def hand_over_seconds(r: Resources, writers: Any) -> Any:
    """Until a core has a line that one of `writers` neighbouring cores wrote before it: near where both hang on one
    last-level cache, far otherwise, weighted as if each of the others were as likely to have had it."""
    outermost = r.levels[-1]
    together = np.minimum(np.where(outermost.shared, outermost.sharers, 1.0), writers)
    far = (writers - together) / np.maximum(writers - 1.0, 1.0)
    return r.core_to_core_seconds + far * (r.core_to_core_far_seconds - r.core_to_core_seconds)


def _column(value: Any) -> Any:
    if isinstance(value, (bool, float)) and type(value) is not np.float64:
        return value
    if np.ndim(value) == 0:
        return float(value)
    return value[:, None] if value.ndim == 1 else value


def _curve_columns(curve: Any) -> Any:
    return tuple((x, _column(y)) for x, y in curve)


def broadcastable(resources: Resources) -> Resources:
    """One-dimensional fields as columns (points, 1), scalars as Python floats (a NumPy scalar is ten times slower)."""
    changes: dict[str, Any] = {}
    for item in fields(resources):
        value = getattr(resources, item.name)
        if item.name == "levels":
            changes["levels"] = tuple(
                replace(
                    level,
                    **{f.name: _column(getattr(level, f.name)) for f in fields(level) if not f.name.endswith("curve")},
                )
                for level in value
            )
        elif item.name == "gemm_efficiency":
            changes[item.name] = {kind: _curve_columns(curve) for kind, curve in value.items()}
        elif item.name == "loaded_latency":
            changes[item.name] = _curve_columns(value)
        elif isinstance(value, tuple):
            changes[item.name] = tuple(_column(v) for v in value)
        else:
            changes[item.name] = _column(value)
    return replace(resources, **changes)
