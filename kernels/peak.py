"""In-core microbenchmarks: instructions a cycle, latencies in cycles, the clock, and what threads cost to start and to meet.

Each rate is paired with the clock measured in the same round, because the clock moves by several per cent within minutes.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from kernels.isa import machine
from kernels.library import I64, KernelError, function
from kernels.timing import CLOCK_ITERATIONS, PeakTask, Spread, clock_hertz, rounds, spread, usable_cpus

REPEATS = 7
ROUND_SECONDS = 4e-4
BARRIERS = 2000
THREAD_ROUNDS = 15


@dataclass(frozen=True)
class Instruction:
    """One probe: `symbol` of kernels/peak."""

    name: str
    symbol: str
    products: int = 0
    """Multiplications in one instruction, on vectors or on tiles of 16 rows of 64 bytes; 0 where they are not counted."""


RATES = (
    Instruction("fma_fp32", "peak_fma", 16),
    Instruction("dot_bf16", "peak_dot_bf16", 32),
    Instruction("dot_int16", "peak_dot_int16", 32),
    Instruction("dot_int8", "peak_dot_int8", 64),
    Instruction("multiply_add_int16", "peak_multiply_add_int16", 32),
    Instruction("add_int", "peak_add_int"),
    Instruction("and", "peak_and"),
    Instruction("blend", "peak_blend"),
    Instruction("shift", "peak_shift"),
    Instruction("max", "peak_max"),
    Instruction("permute", "peak_permute"),
    Instruction("shuffle_bytes", "peak_shuffle_bytes"),
    Instruction("int_to_float", "peak_int_to_float"),
    Instruction("float_to_int", "peak_float_to_int"),
    Instruction("widen_int8", "peak_widen_int8"),
    Instruction("pack_int8", "peak_pack_int8"),
    Instruction("to_bf16", "peak_to_bf16"),
    Instruction("divide", "peak_divide"),
    Instruction("exp_vectors", "peak_exp_vectors"),
    Instruction("prefetch", "peak_prefetch"),
    Instruction("tile_bf16", "peak_tile_bf16", 8192),
    Instruction("tile_int8", "peak_tile_int8", 16384),
    Instruction("tile_load", "peak_tile_load"),
    Instruction("tile_store", "peak_tile_store"),
    Instruction("add", "peak_add"),
    Instruction("multiply", "peak_multiply"),
    Instruction("blend_bytes", "peak_blend_bytes"),
    Instruction("blend_words", "peak_blend_words"),
    Instruction("compare", "peak_compare"),
    Instruction("load", "peak_load"),
    Instruction("broadcast", "peak_broadcast"),
    Instruction("store", "peak_store"),
    Instruction("fma_fp32_256", "peak_fma_256"),
    Instruction("add_256", "peak_add_256"),
    Instruction("multiply_256", "peak_multiply_256"),
    Instruction("add_int_256", "peak_add_int_256"),
    Instruction("and_256", "peak_and_256"),
    Instruction("shift_256", "peak_shift_256"),
    Instruction("shift_right_256", "peak_shift_right_256"),
    Instruction("min_256", "peak_min_256"),
    Instruction("int_to_float_256", "peak_int_to_float_256"),
    Instruction("multiply_add_int16_256", "peak_multiply_add_int16_256"),
    Instruction("compare_256", "peak_compare_256"),
    Instruction("load_256", "peak_load_256"),
    Instruction("broadcast_256", "peak_broadcast_256"),
    Instruction("store_256", "peak_store_256"),
)
"""On vectors of 512 bits; names that end in _256 on 256."""
LATENCIES = (
    Instruction("fma_fp32", "peak_fma_chain"),
    Instruction("dot_bf16", "peak_dot_bf16_chain"),
    Instruction("dot_int16", "peak_dot_int16_chain"),
    Instruction("dot_int8", "peak_dot_int8_chain"),
    Instruction("tile_bf16", "peak_tile_bf16_chain"),
    Instruction("tile_int8", "peak_tile_int8_chain"),
)

NEON_RATES = (
    Instruction("fma_fp32_128", "peak_fma_128", 4),
    Instruction("dot_int8_128", "peak_dot_int8_128", 16),
    Instruction("multiply_add_int16_128", "peak_multiply_add_int16_128", 4),
    *(
        Instruction(f"{name}_128", f"peak_{name}_128")
        for name in (
            "add", "multiply", "add_int", "xor", "select", "shift", "min", "compare", "transpose", "table", "int_to_float",
            "float_to_int", "widen_int8", "pack_int8", "divide", "load", "store",
        )
    ),
    Instruction("prefetch", "peak_prefetch"),
)  # fmt: skip
NEON_LATENCIES = (
    Instruction("fma_fp32_128", "peak_fma_128_chain"),
    Instruction("dot_int8_128", "peak_dot_int8_128_chain"),
    Instruction("multiply_add_int16_128", "peak_multiply_add_int16_128_chain"),
)
"""On AArch64, of 128-bit vectors."""


@dataclass(frozen=True)
class Rate:
    """Throughput of one instruction on 512-bit vectors or tiles. `products_per_second`: multiplications, 0 if it has none."""

    name: str
    per_cycle: Spread
    per_second: Spread
    products_per_second: float


@dataclass(frozen=True)
class Latency:
    """Cycles and seconds from an instruction's accumulator to the next one's."""

    name: str
    latency_cycles: Spread
    latency_seconds: Spread


@dataclass(frozen=True)
class ThreadCost:
    """A barrier of so many pinned threads, creating and joining them, and an empty task on the kernels' own pool."""

    threads: int
    barrier_seconds: Spread
    start_seconds: Spread
    pool_seconds: Spread


def paired(symbol: str, cpu: int) -> tuple[list[float], list[float]]:
    """Units a second of a probe, and the clock in hertz right before each of them."""
    probe, clock = function("peak", symbol), function("peak", "peak_clock")
    task, ticks = PeakTask(200), PeakTask(CLOCK_ITERATIONS // 4)
    for _ in range(3):
        (seconds,), _ = rounds(probe, [task], [cpu], 1)
        task.iterations = max(1, round(task.iterations * min(ROUND_SECONDS / seconds, 1000)))
    rates: list[float] = []
    clocks: list[float] = []
    for _ in range(REPEATS):
        for kind, load, found in ((clock, ticks, clocks), (probe, task, rates)):
            seconds_, done = rounds(kind, [load], [cpu], 2)
            found.append(max(n / t for n, t in zip(done, seconds_, strict=True)))
    return rates, clocks


def rate(instruction: Instruction, cpu: int) -> Rate:
    """Throughput of one instruction. Raises KernelError if this CPU does not have it."""
    rates, clocks = paired(instruction.symbol, cpu)
    per_second = spread(rates)
    cycle = spread([r / c for r, c in zip(rates, clocks, strict=True)])
    return Rate(instruction.name, cycle, per_second, per_second.median * instruction.products)


def latency(instruction: Instruction, cpu: int) -> Latency:
    """Latency of one instruction through its accumulator."""
    rates, clocks = paired(instruction.symbol, cpu)
    cycles = spread([c / r for r, c in zip(rates, clocks, strict=True)])
    return Latency(instruction.name, cycles, spread([1 / r for r in rates]))


def thread_cost(threads: int, cpus: tuple[int, ...]) -> ThreadCost:
    """Barrier, start and pool of so many threads."""
    found = (ctypes.c_double * THREAD_ROUNDS)()

    def run(symbol: str, *before: Any) -> Spread:
        if function("timer", symbol)(*before, I64(THREAD_ROUNDS), found):
            raise KernelError(f"{threads} threads cannot be started")
        return spread(list(found))

    return ThreadCost(
        threads,
        run("time_barriers", (I64 * threads)(*cpus[:threads]), I64(threads), I64(BARRIERS)),
        run("time_starts", I64(threads)),
        run("time_pool", I64(threads), I64(BARRIERS)),
    )


def peak_probes() -> dict[str, Any]:
    """Every in-core probe that this CPU has the instructions for, as plain records; what it lacks, with the reason."""
    cpus = usable_cpus()
    missing: dict[str, str] = {}
    start = time.monotonic()

    def each(instructions: tuple[Instruction, ...], probe: Callable[[Instruction, int], Any]) -> list[dict[str, Any]]:
        found = []
        for instruction in instructions:
            try:
                found.append(asdict(probe(instruction, cpus[0])))
            except KernelError as error:
                missing[instruction.symbol] = str(error)
        return found

    record: dict[str, Any] = {"probe": "peak", "cpus": list(cpus), "clock_hertz": asdict(clock_hertz(cpus[0]))}
    try:
        record["clock_hertz_with_fma"] = asdict(clock_hertz(cpus[0], symbol="peak_clock_fma"))
    except KernelError as error:
        missing["peak_clock_fma"] = str(error)
    arm = machine() == "aarch64"
    record["rates"] = each(NEON_RATES if arm else RATES, rate)
    record["latencies"] = each(NEON_LATENCIES if arm else LATENCIES, latency)
    counts = sorted({n for n in (1, 2, len(cpus) // 2, len(cpus)) if 1 <= n <= len(cpus)})
    record["threads"] = [asdict(thread_cost(n, cpus)) for n in counts]
    record["missing"] = missing
    record["elapsed_seconds"] = time.monotonic() - start
    return record
