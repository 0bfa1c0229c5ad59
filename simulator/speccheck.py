"""Physics that a spec must obey beyond types: geometry, order of latencies, identities between values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from simulator.machine import Curve, Machine
from simulator.units import Dimension, format_quantity
from simulator.yamlfile import Fault

Locate = Callable[[str], Any]
IDENTITY_TOLERANCE = 0.02


def check(machine: Machine, locate: Locate) -> tuple[list[Fault], list[Fault]]:
    """(errors, warnings) of a machine; `locate` finds the file's leaf of a dotted path."""
    found = _Findings(locate)
    _whole_numbers(machine, found)
    _geometry(machine, found)
    if machine.clock.scalar[0][1] > 0.0:  # else _curves reports it, and no latency has a meaning
        _latencies(machine, found)
        _bandwidths(machine, found)
        _interconnect(machine, found)
        _slices(machine, found)
    _sharing(machine, found)
    _features(machine, found)
    _memory(machine, found)
    _dram(machine, found)
    _curves(machine, found)
    _overlaps(machine, found)
    return found.errors, found.warnings


class _Findings:
    def __init__(self, locate: Locate) -> None:
        self.locate, self.errors, self.warnings = locate, [], []  # type: ignore[var-annotated]

    def error(self, path: str, rule: str, got: str = "") -> None:
        self.errors.append(replace(self.locate(path).fault(rule, got), field=path))

    def gives(self, path: str) -> bool:
        """Whether the file itself states this value (and not the schema's default)."""
        leaf = self.locate(path)
        return bool(leaf.names(path))

    def warn(self, path: str, rule: str, got: str = "") -> None:
        self.warnings.append(replace(self.locate(path).fault(rule, got), field=path))


def _size(value: float) -> str:
    return format_quantity(value, Dimension.SIZE)


def _named(machine: Machine) -> list[tuple[str, Any]]:
    caches = machine.caches
    return [(n, level) for n in ("L1", "L2", "L3", "L4") if (level := getattr(caches, n)) is not None]


def _whole_numbers(machine: Machine, found: _Findings) -> None:
    """Things that can be counted. Lines in flight and instructions per cycle are averages and may be fractions."""
    counted = {
        "cores_per_socket": machine.cores_per_socket,
        "sockets": machine.sockets,
        "threads_per_core": machine.threads_per_core,
        "year": machine.year,
        "core.vector.registers": machine.core.vector.registers,
        "tlb.l1_entries_4k": machine.tlb.l1_entries_4k,
        "tlb.l1_entries_2m": machine.tlb.l1_entries_2m,
        "tlb.l2_entries_4k": machine.tlb.l2_entries_4k,
        "tlb.l2_entries_2m": machine.tlb.l2_entries_2m,
        "memory.channels": machine.memory.channels,
        "memory.banks_per_channel": machine.memory.banks_per_channel,
    }
    if (matrix := machine.core.matrix) is not None:
        counted |= {f"core.matrix.{name}": getattr(matrix, name) for name in ("tile_rows", "tile_columns", "tiles")}
    for name, level in _named(machine):
        counted |= {
            f"caches.{name}.{key}": getattr(level, key) for key in ("ways", "sets", "cores_per_instance", "slices")
        }
    for path, value in counted.items():
        if value is not None and not float(value).is_integer():
            found.error(path, "must be a whole number", f"{value:g}")


def _geometry(machine: Machine, found: _Findings) -> None:
    for name, level in _named(machine):
        way = level.ways * level.line_bytes
        if level.sets is not None and level.sets * way != level.size_bytes:
            product = f"{level.sets:g} x {level.ways:g} x {level.line_bytes:g} B = {_size(level.sets * way)}"
            rule = f"sets x ways x line must be the size: {product}"
            found.error(f"caches.{name}.size", rule, _size(level.size_bytes))
        elif level.size_bytes % way:
            found.error(
                f"caches.{name}.size", f"must be a multiple of ways x line = {_size(way)}", _size(level.size_bytes)
            )
        if level.size_bytes / level.cores_per_instance < machine.caches.L1.size_bytes and name == "L2":
            found.error(f"caches.{name}.size", "an L2 smaller than the L1 is no cache for it", _size(level.size_bytes))
    lines = {name: level.line_bytes for name, level in _named(machine)}
    if len(set(lines.values())) > 1:
        odd = next((name for name in lines if found.gives(f"caches.{name}.line")), "L1")
        rule = f"all levels need the same line size: {', '.join(f'{name} {_size(v)}' for name, v in lines.items())}"
        found.error(f"caches.{odd}.line", rule)


def _latencies(machine: Machine, found: _Findings) -> None:
    hz = machine.clock.scalar[0][1]
    previous_name, previous = "", 0.0
    for name, level in _named(machine):
        now = level.latency.at(hz)
        if now <= 0.0:
            found.error(f"caches.{name}.latency", "a latency must be above 0")
        elif previous_name and now <= previous:
            rule = f"latency must rise outwards: {previous_name} has {previous * 1e9:.3g} ns"
            found.error(f"caches.{name}.latency", rule, f"{now * 1e9:.3g} ns")
        previous_name, previous = name, now
    if machine.memory.latency_seconds <= previous:
        rule = f"latency must rise outwards: {previous_name} has {previous * 1e9:.3g} ns"
        found.error("memory.latency", rule, f"{machine.memory.latency_seconds * 1e9:.3g} ns")


def _sharing(machine: Machine, found: _Findings) -> None:
    cores = machine.cores_per_socket
    for name, level in _named(machine):
        if level.cores_per_instance > cores:
            found.error(
                f"caches.{name}.cores_per_instance", f"the socket has {cores:g} cores", f"{level.cores_per_instance:g}"
            )
        elif cores % level.cores_per_instance:
            rule = f"{cores:g} cores do not divide into instances of this many"
            found.warn(f"caches.{name}.cores_per_instance", rule, f"{level.cores_per_instance:g}")


def _features(machine: Machine, found: _Findings) -> None:
    isa, core, vector = machine.isa, machine.core, machine.core.vector
    tiles = any(name.startswith("amx") for name in isa)
    if tiles and core.matrix is None:
        found.error(
            "isa", "amx needs core.matrix (tile_rows, tile_columns, tile_row_bytes, tiles, cycles_per_operation)"
        )
    alone, together = core.demand_lines_in_flight, core.smt_demand_lines_in_flight
    if together is not None and together < alone:
        rule = f"cannot be below core.demand_lines_in_flight, which one thread alone has: {alone:g}"
        found.error("core.smt_demand_lines_in_flight", rule, f"{together:g}")
    if core.matrix is not None and not tiles:
        found.error("core.matrix", "a matrix unit needs amx_bf16 or amx_int8 in isa")
    if machine.clock.amx and not tiles:
        found.error("clock.amx", "an amx clock needs amx_bf16 or amx_int8 in isa")
    if "avx512" in isa and vector.width_bits < 512:
        found.error("core.vector.width", "avx512 in isa needs 512 bit", f"{vector.width_bits:g} bit")
    if vector.width_bits > 256 and not {"avx512", "sve"} & set(isa):
        found.error("core.vector.width", "more than 256 bit needs avx512 or sve in isa", f"{vector.width_bits:g} bit")
    if "neon" in isa and {"avx2", "avx512"} & set(isa):
        found.error("isa", "neon and avx do not go together", ", ".join(isa))
    has_bf16, has_int8 = {"avx512_bf16", "bf16"} & set(isa), {"avx512_vnni", "avx_vnni", "i8mm"} & set(isa)
    for path, rate, feature, names in (
        ("core.vector.dot_bf16_per_cycle", vector.dot_bf16_per_cycle, has_bf16, "avx512_bf16 or bf16"),
        ("core.vector.dot_int8_per_cycle", vector.dot_int8_per_cycle, has_int8, "avx512_vnni, avx_vnni or i8mm"),
    ):
        if rate > 0 and not feature:
            found.error(path, f"needs {names} in isa", f"{rate:g}")
        if feature and rate == 0:
            found.error(path, f"isa has {', '.join(sorted(feature))}: the rate must be above 0", "0")


def _memory(machine: Machine, found: _Findings) -> None:
    memory = machine.memory
    peak = memory.channels * memory.transfers_per_second * memory.channel_bytes
    if abs(peak / memory.bandwidth_bytes_per_second - 1.0) > IDENTITY_TOLERANCE:
        rule = f"must be channels x transfer_rate x channel_width = {peak / 1e9:.4g} GB/s"
        found.error("memory.bandwidth", rule, f"{memory.bandwidth_bytes_per_second / 1e9:.4g} GB/s")
    for name, value in (
        ("read_bandwidth", memory.read_bandwidth_bytes_per_second),
        ("core_bandwidth", memory.core_bandwidth_bytes_per_second),
    ):
        if value is not None and value > memory.bandwidth_bytes_per_second * (1 + 1e-9):
            rule = f"cannot exceed memory.bandwidth, {memory.bandwidth_bytes_per_second / 1e9:.4g} GB/s here"
            found.error(f"memory.{name}", rule, f"{value / 1e9:.4g} GB/s")
    if memory.core_bandwidth_bytes_per_second is not None:
        lines = machine.core.demand_lines_in_flight + machine.prefetcher.stream_lines_in_flight
        little = lines * machine.caches.L1.line_bytes / memory.latency_seconds
        if memory.core_bandwidth_bytes_per_second > little * 1.1:
            rule = f"more than lines in flight x line / latency = {little / 1e9:.3g} GB/s; the lower one counts"
            found.warn("memory.core_bandwidth", rule, f"{memory.core_bandwidth_bytes_per_second / 1e9:.3g} GB/s")


def _dram(machine: Machine, found: _Findings) -> None:
    """Rows, banks and queues of the memory."""
    memory, line = machine.memory, machine.caches.L1.line_bytes
    for name, value in (("row_size", memory.row_bytes), ("interleave", memory.interleave_bytes)):
        if value is not None and (value < line or not math.log2(value).is_integer()):
            found.error(f"memory.{name}", f"must be a power of two, at least a line of {_size(line)}", _size(value))
    if memory.row_cycle_seconds is not None:
        rows = {"banks_per_channel": memory.banks_per_channel, "row_size": memory.row_bytes}
        if missing := [name for name, value in rows.items() if value is None]:
            found.error("memory.row_cycle", f"a row cycle has no meaning without memory.{missing[0]}")
        if memory.row_cycle_seconds >= memory.latency_seconds:
            rule = f"longer than a whole read: memory.latency is {memory.latency_seconds * 1e9:.3g} ns"
            found.warn("memory.row_cycle", rule, f"{memory.row_cycle_seconds * 1e9:.3g} ns")
    points = memory.loaded_latency
    if points and points[-1][0] > 1.0:
        rule = "the x is a share of memory.read_bandwidth, at most 1"
        found.error("memory.loaded_latency", rule, f"a point at {points[-1][0]:g}")
    if any(y < 1.0 for _, y in points):
        found.error("memory.loaded_latency", "a multiple of the idle latency is at least 1")
    elif any(b[1] < a[1] for a, b in zip(points, points[1:], strict=False)):
        found.error("memory.loaded_latency", "latency never falls as the load grows")


def _interconnect(machine: Machine, found: _Findings) -> None:
    """A line of another core comes later than one of the cache that is asked for it, and latest across caches."""
    net, hz = machine.interconnect, machine.clock.scalar[0][1]
    near, far = net.core_to_core, net.core_to_core_far
    for key, given in (("core_to_core", near), ("core_to_core_far", far)):
        if given is not None and given.at(hz) <= 0.0:
            found.error(f"interconnect.{key}", "a latency must be above 0")
    name, level = _named(machine)[-1]
    if near is not None and 0.0 < near.at(hz) < level.latency.at(hz):
        rule = f"shorter than a read of {name}, which is asked first: {level.latency.at(hz) * 1e9:.3g} ns"
        found.warn("interconnect.core_to_core", rule, f"{near.at(hz) * 1e9:.3g} ns")
    if near is not None and far is not None and 0.0 < far.at(hz) < near.at(hz):
        rule = f"cannot be shorter than core_to_core with {near.at(hz) * 1e9:.3g} ns"
        found.error("interconnect.core_to_core_far", rule, f"{far.at(hz) * 1e9:.3g} ns")
    mesh, read = net.mesh_bandwidth_bytes_per_second, machine.memory.read_bandwidth_bytes_per_second
    if mesh is not None and mesh < read:
        rule = f"memory.read_bandwidth of {read / 1e9:.4g} GB/s does not pass through it; the lower one counts"
        found.warn("interconnect.mesh_bandwidth", rule, f"{mesh / 1e9:.4g} GB/s")


def _slices(machine: Machine, found: _Findings) -> None:
    """Slices deliver together what their cache does."""
    hz = machine.clock.scalar[0][1]
    for name, level in _named(machine):
        slices = level.cores_per_instance if level.slices is None else level.slices
        if level.slices is not None and slices.is_integer() and level.size_bytes % (slices * level.line_bytes):
            rule = f"{_size(level.size_bytes)} do not divide into slices of whole lines"
            found.error(f"caches.{name}.slices", rule, f"{slices:g}")
        if level.slice_bandwidth is None or level.shared_bandwidth is None:
            continue
        together, shared = slices * level.slice_bandwidth.at(hz), level.shared_bandwidth.at(hz)
        if together < shared * (1.0 - IDENTITY_TOLERANCE):
            rule = f"{slices:g} slices deliver {together / 1e9:.4g} GB/s, shared_bandwidth is {shared / 1e9:.4g} GB/s"
            found.error(f"caches.{name}.slice_bandwidth", rule)


def _curves(machine: Machine, found: _Findings) -> None:
    for name in ("scalar", "avx2", "avx512", "amx", "neon"):
        curve: Curve = getattr(machine.clock, name)
        if curve and curve[-1][0] > machine.cores_per_socket:
            found.error(
                f"clock.{name}", f"the socket has {machine.cores_per_socket:g} cores", f"a point at {curve[-1][0]:g}"
            )
        if any(y <= 0 for _, y in curve):
            found.error(f"clock.{name}", "a frequency must be above 0")
    for name in ("fp32", "bf16", "int8", "tile"):
        curve = getattr(machine.software, f"gemm_efficiency_{name}")
        for _, y in curve:
            if not 0.0 < y <= 1.0:
                found.error(f"software.gemm_efficiency_{name}", "an efficiency lies above 0 and at most at 1", f"{y:g}")
                break
    for level_name, level in _named(machine):
        for kind in ("cyclic_miss_curve", "random_miss_curve"):
            points = getattr(level, kind)
            if any(not 0.0 <= y <= 1.0 for _, y in points):
                found.error(f"caches.{level_name}.{kind}", "a miss share lies between 0 and 1")
            elif any(b[1] < a[1] for a, b in zip(points, points[1:], strict=False)):
                found.error(f"caches.{level_name}.{kind}", "a miss share never falls as the working set grows")


def _overlaps(machine: Machine, found: _Findings) -> None:
    """Otherwise a larger cache, which moves data inwards, could make a phase slower."""
    for kind in ("library", "kernel"):
        near, far = (getattr(machine.software, f"{kind}_overlap_{where}") for where in ("cache", "memory"))
        if far > near:
            rule = f"memory cannot overlap better than the caches: {kind}_overlap_cache is {near:g}"
            found.error(f"software.{kind}_overlap_memory", rule, f"{far:g}")


def _bandwidths(machine: Machine, found: _Findings) -> None:
    hz = machine.clock.scalar[0][1]
    previous_name, previous = "", float("inf")
    for name, level in _named(machine):
        now = level.bandwidth.at(hz)
        if now > previous:
            rule = f"one core reads more here than from {previous_name} ({previous / 1e9:.3g} GB/s)"
            found.warn(f"caches.{name}.bandwidth", rule, f"{now / 1e9:.3g} GB/s")
        previous_name, previous = name, now
    core = machine.memory.core_bandwidth_bytes_per_second
    if core is not None and core > previous:
        rule = f"one core reads more here than from {previous_name} ({previous / 1e9:.3g} GB/s)"
        found.warn("memory.core_bandwidth", rule, f"{core / 1e9:.3g} GB/s")
