"""What a CPU is, as frozen data.

Every field is a plain number in base units (bytes, seconds, hertz, cycles); files and command lines write them with
units, under the alias given here (`size: 48 KiB` -> `size_bytes = 49152.0`). `Unit` carries the dimension to the
spec reader, to the JSON schema and to the dumper, so that a field is described once.

A number may also be a NumPy array: the engine broadcasts, so one `Machine` can stand for ten thousand variants
(`simulator.stack`). Nothing in here is checked again after the spec reader has let it through.

Durations and rates have two parts because a CPU has several clocks: an L2 answers in core cycles, a mesh or DRAM in
nanoseconds that do not move with the core clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from simulator.units import Dimension

FORMAT_VERSION = 1

Dtype = Literal["fp32", "bf16", "int16", "int8"]
Status = Literal["shipping", "announced", "hypothetical", "detected", "calibrated"]
Isa = Literal[
    "avx2", "avx512", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "neon", "sve", "bf16", "i8mm"
]
InstructionClass = Literal["scalar", "avx2", "avx512", "amx", "neon"]
Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Unit:
    """Marks a field's dimension; the spec reader parses "32 KiB" with it."""

    dimension: Dimension


@dataclass(frozen=True)
class Duration:
    """A latency with a part in core cycles and a part in seconds of some other clock."""

    cycles: float = 0.0
    seconds: float = 0.0

    def at(self, frequency_hz: float) -> float:
        """Seconds at the given core clock."""
        return self.cycles / frequency_hz + self.seconds


@dataclass(frozen=True)
class Rate:
    """A bandwidth with a part in bytes per core cycle and a part in bytes per second of some other clock."""

    bytes_per_cycle: float = 0.0
    bytes_per_second: float = 0.0

    def at(self, frequency_hz: float) -> float:
        """Bytes per second at the given core clock."""
        return self.bytes_per_cycle * frequency_hz + self.bytes_per_second


_CONFIG: Any = {"extra": "forbid"}

Count = Annotated[float, Unit(Dimension.COUNT)]
Size = Annotated[float, Unit(Dimension.SIZE)]
Fraction = Annotated[float, Unit(Dimension.FRACTION)]
Cycles = Annotated[float, Unit(Dimension.CYCLES)]
Seconds = Annotated[float, Unit(Dimension.TIME)]
Bits = Annotated[float, Unit(Dimension.BITS)]


@dataclass(frozen=True)
class Clock:
    """Core frequency against active cores, one curve per instruction class.

    Each curve lists (active cores of one socket, hertz) and is interpolated linearly in log2(cores); beyond its ends
    it is flat. A class that is absent runs on the next lighter one's curve (amx -> avx512 -> avx2 -> scalar;
    neon -> scalar).
    """

    __pydantic_config__ = _CONFIG
    scalar: Annotated[Curve, Unit(Dimension.FREQUENCY)]
    avx2: Annotated[Curve, Unit(Dimension.FREQUENCY)] = ()
    avx512: Annotated[Curve, Unit(Dimension.FREQUENCY)] = ()
    amx: Annotated[Curve, Unit(Dimension.FREQUENCY)] = ()
    neon: Annotated[Curve, Unit(Dimension.FREQUENCY)] = ()
    base_hz: Annotated[float | None, Unit(Dimension.FREQUENCY), Field(alias="base", gt=0)] = None


@dataclass(frozen=True)
class VectorUnit:
    """SIMD execution: instructions per cycle and core at full width. Zero means 'no such instruction'.

    `dot_*` are widening dot products (vdpbf16ps, vpdpwssd, vpdpbusd; BFDOT/BFMMLA, SMMLA): MACs per instruction =
    width / input bits. A matrix-multiply form that does more MACs an instruction (BFMMLA, SMMLA) is given as
    proportionally more instructions per cycle. `gather_per_cycle`: elements that a vector load from scattered addresses brings
    (vpgatherdps; on AArch64 single loads; None: one).
    """

    __pydantic_config__ = _CONFIG
    width_bits: Annotated[float, Unit(Dimension.BITS), Field(alias="width", gt=0)]
    fma_per_cycle: Annotated[Count, Field(gt=0)]
    alu_per_cycle: Annotated[Count, Field(gt=0)]
    convert_per_cycle: Annotated[Count, Field(gt=0)]
    dot_bf16_per_cycle: Annotated[Count, Field(ge=0)] = 0.0
    dot_int16_per_cycle: Annotated[Count, Field(ge=0)] = 0.0
    dot_int8_per_cycle: Annotated[Count, Field(ge=0)] = 0.0
    fma_latency_cycles: Annotated[Cycles, Field(alias="fma_latency", gt=0)] = 4.0
    dot_latency_cycles: Annotated[Cycles, Field(alias="dot_latency", gt=0)] = 5.0
    exp_cycles_per_vector: Annotated[Cycles, Field(alias="exp_per_vector", gt=0)] = 6.0
    registers: Annotated[Count, Field(gt=0)] = 32.0
    gather_per_cycle: Annotated[float | None, Unit(Dimension.COUNT), Field(gt=0)] = None


@dataclass(frozen=True)
class MatrixUnit:
    """A tile unit such as AMX: one operation multiplies rows x (row bytes) by (row bytes) x columns."""

    __pydantic_config__ = _CONFIG
    tile_rows: Annotated[Count, Field(gt=0)]
    tile_columns: Annotated[Count, Field(gt=0)]
    tile_row_bytes: Annotated[Size, Field(gt=0)]
    tiles: Annotated[Count, Field(gt=0)]
    cycles_per_operation: Annotated[Cycles, Field(gt=0)]


@dataclass(frozen=True)
class Core:
    """One core: front end, memory ports, out-of-order window and miss concurrency.

    `smt_demand_lines_in_flight`: of the whole core while sibling threads run; none: as of one thread alone. `row_start`: what
    a row at a data-dependent address takes from a cache beyond its bytes (the first level excepted). `row_load_share`: share of
    `load_bandwidth` that lines of such rows reach in the first level, and the loads beside them (none: all of it).
    """

    __pydantic_config__ = _CONFIG
    issue_width: Annotated[Count, Field(gt=0)]
    load_bytes_per_cycle: Annotated[float, Unit(Dimension.BYTES_PER_CYCLE), Field(alias="load_bandwidth", gt=0)]
    store_bytes_per_cycle: Annotated[float, Unit(Dimension.BYTES_PER_CYCLE), Field(alias="store_bandwidth", gt=0)]
    vector_window_uops: Annotated[Count, Field(gt=0)]
    demand_lines_in_flight: Annotated[Count, Field(gt=0)]
    vector: VectorUnit
    matrix: MatrixUnit | None = None
    smt_demand_lines_in_flight: Annotated[Count, Field(gt=0)] | None = None
    row_start_cycles: Annotated[float | None, Unit(Dimension.CYCLES), Field(alias="row_start", ge=0)] = None
    row_load_share: Annotated[float | None, Unit(Dimension.FRACTION), Field(gt=0, le=1)] = None


@dataclass(frozen=True)
class CacheLevel:
    """One cache level.

    `available_fraction` is below 1 where others use it too (a virtual machine's neighbours). `bandwidth` is what
    one core reads from it; `shared_bandwidth` what its sharers read together.

    `cyclic_miss_curve` and `random_miss_curve`: (working set / capacity, share of accesses that miss). Empty means
    the closed form: a step at 1 for cyclic reuse under LRU, 1 - 1/x for uniformly random reuse, which for the rows of a
    look-up layer counts all arrays by their sets.

    `slices`: parts of one instance between which lines are spread by a hash of their address, each with ports of its
    own (None: one a core, as on Intel's mesh and in AMD's core complexes). `slice_bandwidth`: what one of them reads out
    (None: an even share of `shared_bandwidth`).
    """

    __pydantic_config__ = _CONFIG
    size_bytes: Annotated[Size, Field(alias="size", gt=0)]
    ways: Annotated[Count, Field(ge=1)]
    latency: Annotated[Duration, Unit(Dimension.TIME)]
    bandwidth: Annotated[Rate, Unit(Dimension.BANDWIDTH)]
    line_bytes: Annotated[Size, Field(alias="line", gt=0)] = 64.0
    sets: Annotated[float | None, Unit(Dimension.COUNT), Field(ge=1)] = None
    cores_per_instance: Annotated[Count, Field(ge=1)] = 1.0
    inclusion: Literal["inclusive", "exclusive", "non-inclusive"] = "non-inclusive"
    available_fraction: Annotated[Fraction, Field(gt=0, le=1)] = 1.0
    shared_bandwidth: Annotated[Rate, Unit(Dimension.BANDWIDTH)] | None = None
    write_bandwidth: Annotated[Rate, Unit(Dimension.BANDWIDTH)] | None = None
    cyclic_miss_curve: Annotated[Curve, Unit(Dimension.FRACTION)] = ()
    random_miss_curve: Annotated[Curve, Unit(Dimension.FRACTION)] = ()
    slices: Annotated[float | None, Unit(Dimension.COUNT), Field(ge=1)] = None
    slice_bandwidth: Annotated[Rate, Unit(Dimension.BANDWIDTH)] | None = None


@dataclass(frozen=True)
class Caches:
    """Cache levels from the core outwards."""

    __pydantic_config__ = _CONFIG
    L1: CacheLevel
    L2: CacheLevel
    L3: CacheLevel | None = None
    L4: CacheLevel | None = None

    def levels(self) -> tuple[CacheLevel, ...]:
        """The levels that exist, innermost first."""
        return tuple(level for level in (self.L1, self.L2, self.L3, self.L4) if level is not None)


@dataclass(frozen=True)
class Tlb:
    """Data-TLB reach per page size and the cost of missing it."""

    __pydantic_config__ = _CONFIG
    l1_entries_4k: Annotated[Count, Field(gt=0)]
    l1_entries_2m: Annotated[Count, Field(gt=0)]
    l2_entries_4k: Annotated[Count, Field(gt=0)]
    l2_entries_2m: Annotated[Count, Field(gt=0)]
    l2_latency_cycles: Annotated[Cycles, Field(alias="l2_latency", ge=0)] = 7.0
    walk: Annotated[Duration, Unit(Dimension.TIME)] = Duration(cycles=30.0)
    page_walkers: Annotated[Count, Field(ge=1)] = 2.0


@dataclass(frozen=True)
class Prefetcher:
    """Lines that hardware prefetchers keep in flight beside the core's own demand misses.

    `stream_lines_in_flight`: on a long sequential stream. `row_lines_in_flight`: extra lines inside one random row
    (reached for long rows; a 64-byte row has none). `software_lines_in_flight`: what prefetch instructions can keep.
    """

    __pydantic_config__ = _CONFIG
    stream_lines_in_flight: Annotated[Count, Field(ge=0)]
    row_lines_in_flight: Annotated[Count, Field(ge=0)]
    software_lines_in_flight: Annotated[Count, Field(ge=0)]


@dataclass(frozen=True)
class Memory:
    """The memory of one socket. `bandwidth` is the theoretical peak, `read_bandwidth` what all cores reach together.

    What only an engine with queues uses: `banks_per_channel` (over all ranks) each hold one open row of `row_size`; opening
    another takes `row_cycle` (JEDEC's tRC) from the last time. `interleave`: contiguous bytes of one channel.
    `loaded_latency`: (share of `read_bandwidth` in use, latency as a multiple of `latency`), linear in between and flat
    beyond its ends; empty where it was not measured.
    """

    __pydantic_config__ = _CONFIG
    kind: Literal["DDR4", "DDR5", "LPDDR5", "MRDIMM", "HBM2e", "HBM3", "other"]
    channels: Annotated[Count, Field(ge=1)]
    transfers_per_second: Annotated[float, Unit(Dimension.TRANSFERS), Field(alias="transfer_rate", gt=0)]
    bandwidth_bytes_per_second: Annotated[float, Unit(Dimension.BANDWIDTH), Field(alias="bandwidth", gt=0)]
    read_bandwidth_bytes_per_second: Annotated[float, Unit(Dimension.BANDWIDTH), Field(alias="read_bandwidth", gt=0)]
    latency_seconds: Annotated[Seconds, Field(alias="latency", gt=0)]
    capacity_bytes: Annotated[Size, Field(alias="capacity", gt=0)]
    channel_bytes: Annotated[Size, Field(alias="channel_width", gt=0)] = 8.0
    write_share_penalty: Annotated[Fraction, Field(ge=0, lt=1)] = 0.15
    core_bandwidth_bytes_per_second: Annotated[
        float | None, Unit(Dimension.BANDWIDTH), Field(alias="core_bandwidth", gt=0)
    ] = None
    link_bandwidth_bytes_per_second: Annotated[
        float | None, Unit(Dimension.BANDWIDTH), Field(alias="link_bandwidth", gt=0)
    ] = None
    """What one chiplet (the cores that share one last-level instance) can read; None where no such link exists."""
    banks_per_channel: Annotated[float | None, Unit(Dimension.COUNT), Field(ge=1)] = None
    row_bytes: Annotated[float | None, Unit(Dimension.SIZE), Field(alias="row_size", gt=0)] = None
    row_cycle_seconds: Annotated[float | None, Unit(Dimension.TIME), Field(alias="row_cycle", gt=0)] = None
    interleave_bytes: Annotated[float | None, Unit(Dimension.SIZE), Field(alias="interleave", gt=0)] = None
    loaded_latency: Annotated[Curve, Unit(Dimension.COUNT)] = ()


@dataclass(frozen=True)
class Interconnect:
    """What lies between the cores, and between the sockets. None: not stated (`simulator.resources` says what counts then).

    `core_to_core`: time until a core has a line that another core of the same last-level cache wrote; `core_to_core_far`:
    the same across last-level caches of one socket. `mesh_bandwidth`: what the fabric of one socket carries between its
    last-level caches and its memory. `socket_latency`: what a read of another socket's memory adds to `memory.latency`;
    `socket_bandwidth`: what all links to another socket carry in one direction.
    """

    __pydantic_config__ = _CONFIG
    core_to_core: Annotated[Duration, Unit(Dimension.TIME)] | None = None
    core_to_core_far: Annotated[Duration, Unit(Dimension.TIME)] | None = None
    mesh_bandwidth_bytes_per_second: Annotated[
        float | None, Unit(Dimension.BANDWIDTH), Field(alias="mesh_bandwidth", gt=0)
    ] = None
    socket_latency_seconds: Annotated[float | None, Unit(Dimension.TIME), Field(alias="socket_latency", gt=0)] = None
    socket_bandwidth_bytes_per_second: Annotated[
        float | None, Unit(Dimension.BANDWIDTH), Field(alias="socket_bandwidth", gt=0)
    ] = None


@dataclass(frozen=True)
class Software:
    """How well tuned code uses the machine: curves and exponents, as data.

    `gemm_efficiency_*`: (tokens per call, fraction of the instruction peak) of a blocked library GEMM whose operands are
    near. `overlap_*`: exponents p of t = (core^p + memory^p)^(1/p): 1 adds, infinity is a plain maximum.
    """

    __pydantic_config__ = _CONFIG
    gemm_efficiency_fp32: Annotated[Curve, Unit(Dimension.FRACTION)]
    gemm_efficiency_bf16: Annotated[Curve, Unit(Dimension.FRACTION)]
    gemm_efficiency_int8: Annotated[Curve, Unit(Dimension.FRACTION)]
    gemm_efficiency_tile: Annotated[Curve, Unit(Dimension.FRACTION)]
    kernel_efficiency: Annotated[Fraction, Field(gt=0, le=1)]
    library_overlap_cache: Annotated[Count, Field(ge=1)]
    library_overlap_memory: Annotated[Count, Field(ge=1)]
    kernel_overlap_cache: Annotated[Count, Field(ge=1)]
    kernel_overlap_memory: Annotated[Count, Field(ge=1)]
    library_call: Annotated[Duration, Unit(Dimension.TIME)]
    barrier: Annotated[Duration, Unit(Dimension.TIME)]
    barrier_per_doubling: Annotated[Duration, Unit(Dimension.TIME)]
    row_overlap_cache: Annotated[Count, Field(ge=1)] | None = None
    row_overlap_memory: Annotated[Count, Field(ge=1)] | None = None
    """Of phases that read rows at random addresses; None: as `kernel_overlap_*`."""
    library_call_int8: Annotated[Duration, Unit(Dimension.TIME)] | None = None
    """A call that quantises too; None: as `library_call`."""
    library_barrier: Annotated[Duration, Unit(Dimension.TIME)] | None = None
    """Of two threads of a GEMM library, which often has workers of its own kind; None: as `barrier`."""


@dataclass(frozen=True)
class Provenance:
    """Where one value comes from. `interval` is the +- share at 90 %."""

    kind: Literal["datasheet", "measured", "announced", "estimated"]
    source: str
    interval: float
    note: str = ""


DEFAULT_INTERVALS = {"datasheet": 0.02, "measured": 0.05, "announced": 0.15, "estimated": 0.25}


@dataclass(frozen=True)
class Machine:
    """One CPU system. `sockets` and `cores_per_socket` count physical units; SMT siblings are not cores."""

    __pydantic_config__ = _CONFIG
    name: str
    vendor: str
    microarchitecture: str
    cores_per_socket: Annotated[Count, Field(ge=1)]
    isa: tuple[Isa, ...]
    clock: Clock
    core: Core
    caches: Caches
    tlb: Tlb
    prefetcher: Prefetcher
    memory: Memory
    software: Software
    interconnect: Interconnect = Interconnect()
    sockets: Annotated[Count, Field(ge=1)] = 1.0
    threads_per_core: Annotated[Count, Field(ge=1)] = 1.0
    status: Status = "shipping"
    year: Annotated[float | None, Unit(Dimension.COUNT), Field(ge=2000, le=2040)] = None
    tdp_watts: Annotated[float | None, Unit(Dimension.POWER), Field(alias="tdp", gt=0)] = None
    notes: str = ""
    id: str = ""
    provenance: dict[str, Provenance] = field(default_factory=dict, compare=False, hash=False)
    """Filled in by the spec reader: dotted path of each value (file keys) -> its provenance."""


def interpolate_log(curve: Curve, x: Any) -> Any:
    """Value of `curve` at x, linear in log2(x), flat beyond its ends; x may be an array."""
    import numpy as np

    if len(curve) == 1:
        return curve[0][1] + 0.0 * np.asarray(x, dtype=float) if np.ndim(x) else curve[0][1]
    if not np.ndim(x):
        previous_x, previous_y = curve[0]
        if x <= previous_x:
            return previous_y
        for next_x, next_y in curve[1:]:
            if x <= next_x:
                share = math.log(x / previous_x) / math.log(next_x / previous_x)
                return previous_y + share * (next_y - previous_y)
            previous_x, previous_y = next_x, next_y
        return previous_y
    xs, ys = zip(*curve, strict=True)
    return np.interp(np.log(x), np.log(xs), ys)
