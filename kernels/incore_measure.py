"""What the hot stages and their instructions take on this host, in cycles: every time is paired with the clock of its round.

Data lie in L1 (a block of 16 KiB, a table of 16 KiB, some tokens); stages are repeated by compiled code, on one pinned core.
"""

from __future__ import annotations

import ctypes
import datetime
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from kernels.host import observe
from kernels.hostmatch import match
from kernels.incore_items import COLUMNS, ITEMS, Item
from kernels.incore_targets import TARGETS
from kernels.library import F32, I64, POINTER, GatherSchedule, KernelError, address, function
from kernels.lookup import LookupFfn
from kernels.packing import PER_DWORD
from kernels.peak import RATES, rate
from kernels.tables import aligned
from kernels.timing import CLOCK_ITERATIONS, PeakTask, Spread, clock_hertz, rounds, spread, usable_cpus
from kernels.weights import EPSILON, random_weights

ROUND_SECONDS, REPEATS, PLACEMENTS = 4e-4, 3, 15
KIND_OF_PROBE = {
    "peak_fma": "vfmadd231ps zmm", "peak_dot_bf16": "vdpbf16ps zmm", "peak_dot_int16": "vpdpwssd zmm",
    "peak_dot_int8": "vpdpbusd zmm", "peak_multiply_add_int16": "vpmaddwd zmm", "peak_add_int": "vpaddd zmm",
    "peak_and": "vpandd zmm", "peak_blend": "vpblendmd zmm", "peak_shift": "vpslld zmm", "peak_max": "vmaxps zmm",
    "peak_permute": "vpermd zmm", "peak_shuffle_bytes": "vpshufb zmm", "peak_int_to_float": "vcvtdq2ps zmm",
    "peak_float_to_int": "vcvtps2dq zmm", "peak_add": "vaddps zmm", "peak_multiply": "vmulps zmm",
    "peak_blend_bytes": "vpblendmb zmm", "peak_blend_words": "vpblendmw zmm", "peak_compare": "vcmpps zmm",
    "peak_load": "load zmm", "peak_broadcast": "broadcast zmm", "peak_store": "store zmm", "peak_fma_256": "vfmadd231ps ymm",
    "peak_add_256": "vaddps ymm", "peak_multiply_256": "vmulps ymm", "peak_add_int_256": "vpaddd ymm",
    "peak_and_256": "vpandd ymm", "peak_shift_256": "vpslld ymm", "peak_shift_right_256": "vpsrad ymm",
    "peak_min_256": "vminps ymm", "peak_int_to_float_256": "vcvtdq2ps ymm", "peak_multiply_add_int16_256": "vpmaddwd ymm",
    "peak_compare_256": "vcmpps ymm", "peak_load_256": "load ymm", "peak_broadcast_256": "broadcast ymm",
    "peak_store_256": "store ymm",
}  # fmt: skip
"""Probe of kernels/peak -> kind of instruction (kernels/incore_kinds.py)."""


Builder = Callable[[Item, np.random.Generator], tuple[Any, Any, tuple[Any, ...]]]
"""Makes the repeating function of an item, its task, and what must stay alive."""


class BlockTask(ctypes.Structure):
    """`struct BlockTask` of include/incore.hpp."""

    _fields_ = (
        ("times", I64),
        *((name, POINTER) for name in ("weights", "x", "y")),
        *((name, I64) for name in ("outputs", "steps", "tokens")),
    )


class TailTask(ctypes.Structure):
    """`struct TailTask` of include/incore.hpp."""

    _fields_ = (
        ("times", I64),
        *((name, POINTER) for name in ("x", "mix", "bias", "correction", "y", "z", "activations")),
        *((name, I64) for name in ("size", "block", "tokens", "limit")),
    )


class StageTask(ctypes.Structure):
    """`struct StageTask` of incore/scalar.cpp."""

    _fields_ = (("times", I64), ("tokens", I64), ("function", POINTER), ("a", I64 * 10), ("f", F32))


def _stage(item: Item, _: np.random.Generator) -> tuple[Any, StageTask, tuple[Any, ...]]:
    """(repeating function, its task, what must stay alive) of a stage as the library calls it."""
    shape = item.operator
    gathers = item.stage == "gather"
    weights = random_weights(int(shape.hidden), int(shape.output), int(shape.tables), int(shape.rows))
    table = item.dtype if gathers else "fp32"
    ffn = LookupFfn(weights, table=table, stripe=COLUMNS if gathers else None, isa=item.isa)  # type: ignore[arg-type]
    tokens = 8 if gathers else 4
    build = {"layer_norm": _layer_norm, "code_score": _code_score, "gather": _gather}[item.stage]
    arguments, kept = build(ffn, tokens, np.random.default_rng(1))
    task = StageTask(1, tokens, address(ffn._functions[item.stage]), f=EPSILON)
    for place, argument in enumerate(arguments):
        task.a[place] = argument
    return function("incore", f"incore_{item.stage}"), task, (ffn, kept)


Arguments = tuple[tuple[int, ...], tuple[Any, ...]]
"""(what a stage's C function is called with, floats as 0; what must stay alive)."""


def _layer_norm(ffn: LookupFfn, tokens: int, rng: np.random.Generator) -> Arguments:
    w, width = ffn.weights, ffn._projection.width
    x = aligned(rng.standard_normal((tokens, w.hidden)).astype(np.float32))
    out = aligned(np.zeros((tokens, width), dtype=np.float32))
    given = (
        x.ctypes.data,
        w.hidden,
        tokens,
        w.hidden,
        w.gamma.ctypes.data,
        w.beta.ctypes.data,
        0,
        out.ctypes.data,
        width,
        0,
    )
    return given, (x, out)


def _code_score(ffn: LookupFfn, tokens: int, rng: np.random.Generator) -> Arguments:
    w, p = ffn.weights, ffn._projection
    z = aligned(rng.standard_normal((tokens, p.outputs)).astype(np.float32))
    codes = np.zeros((tokens, w.table_count), dtype=np.uint16)
    scores = aligned(np.zeros(codes.shape, dtype=np.float32))
    given = (
        z.ctypes.data, p.outputs, tokens, w.table_count, w.code_bits, int(p.planes), codes.ctypes.data, scores.ctypes.data,
        w.table_count,
    )  # fmt: skip
    return given, (z, codes, scores)


def _gather(ffn: LookupFfn, tokens: int, rng: np.random.Generator) -> Arguments:
    t = ffn._tables
    codes = rng.integers(0, ffn.weights.rows, (tokens, t.tables)).astype(np.uint16)
    scores = aligned(rng.random(codes.shape).astype(np.float32))
    sums = aligned(np.zeros((tokens, t.padded_columns), dtype=np.float32))
    nest = GatherSchedule(tokens, t.tables, 0, 0, 0, t.tables)
    given = (
        ctypes.addressof(ffn._c_tables), codes.ctypes.data, scores.ctypes.data, t.tables, tokens, sums.ctypes.data,
        t.padded_columns, 0, t.padded_columns // t.stripe, ctypes.addressof(nest),
    )  # fmt: skip
    return given, (codes, scores, sums, nest)


def _placed(count: int, value: float, dtype: Any, rng: np.random.Generator) -> Any:
    """`count` equal numbers at a random multiple of 64 bytes within a page."""
    room = aligned(np.empty(count + 1024, dtype=dtype))
    start = int(rng.integers(0, 64)) * 16
    room[start : start + count] = value
    return room[start : start + count]


def _block(item: Item, rng: np.random.Generator) -> tuple[Any, BlockTask, tuple[Any, ...]]:
    steps, tokens = 64 // PER_DWORD[item.dtype], 12  # 16 KiB of weights at most, 3 of activations, 3 of sums
    dtype = np.float32 if item.dtype in ("fp32", "bf16") else np.int32  # whole numbers would be denormal
    weights, x = _placed(steps * 64, 1, dtype, rng), _placed(tokens * steps, 1, dtype, rng)
    y = _placed(tokens * 64, 0, np.float32, rng)
    task = BlockTask(1, weights.ctypes.data, x.ctypes.data, y.ctypes.data, 64, steps, tokens)
    return function("incore", f"incore_block_{item.dtype}", item.isa), task, (weights, x, y)


def _tail(item: Item, rng: np.random.Generator) -> tuple[Any, TailTask, tuple[Any, ...]]:
    size, tokens = 512, 4
    arrays = [_placed(size, 0.5, np.float32, rng) for _ in ("x", "mix", "bias")]
    arrays += [_placed(count * size, 0.0, np.float32, rng) for count in (1, tokens, 1, 1)]
    limit = {"int16": 8191, "int8": 127}.get(item.dtype, 0)
    task = TailTask(1, *(a.ctypes.data for a in arrays), size, 64, tokens, limit)
    return function("incore", f"incore_tail_{item.dtype}", item.isa), task, tuple(arrays)


def cycles_per_token(item: Item, cpu: int) -> Spread:
    """Measured cycles a token of one stage: the spread over PLACEMENTS of its arrays, because stores and loads whose addresses
    agree in their lower 12 bits wait for each other. Raises KernelError where this CPU cannot run it."""
    builders: dict[str, Builder] = {"block_product": _block, "tail": _tail}
    build: Builder = builders.get(item.stage, _stage)
    rng = np.random.default_rng(7)
    found: list[float] = []
    kept: list[Any] = []
    for _ in range(PLACEMENTS):
        probe, task, arrays = build(item, rng)
        found.append(_timed(item, probe, task, cpu))
        kept.append((arrays, np.zeros(int(rng.integers(1, 256)) * 64, dtype=np.uint8)))  # the next ones lie elsewhere
    return spread(found)


def _timed(item: Item, probe: Any, task: Any, cpu: int) -> float:
    """Cycles a token: the median over rounds, each with the clock right before it."""
    clock, ticks = function("peak", "peak_clock"), PeakTask(CLOCK_ITERATIONS // 4)
    for _ in range(3):
        (seconds,), _ = rounds(probe, [task], [cpu], 1)
        task.times = max(1, round(task.times * min(ROUND_SECONDS / seconds, 1000)))
    found = []
    for _ in range(REPEATS):
        hertz = max(n / t for t, n in zip(*rounds(clock, [ticks], [cpu], 2), strict=True))
        rate_ = max(n / t for t, n in zip(*rounds(probe, [task], [cpu], 2), strict=True))
        if not rate_:
            raise KernelError(f"{item.name}: an index out of range")
        found.append(hertz / rate_)
    return spread(found).median


def measure() -> dict[str, Any]:
    """Every stage and instruction that this CPU has, as a record. Raises KernelError, BuildError, HostError."""
    host = observe()
    nearest = match(host)
    target = next((t.name for t in TARGETS if t.spec == nearest.base_id and nearest.confidence == "high"), "")
    cpu = usable_cpus()[0]
    missing: dict[str, str] = {}
    stages, instructions = {}, {}
    for item in ITEMS:
        try:
            stages[item.name] = asdict(cycles_per_token(item, cpu))
        except KernelError as error:
            missing[item.name] = str(error)
    for instruction in RATES:
        kind = KIND_OF_PROBE.get(instruction.symbol)
        if kind is None:
            continue
        try:
            per_cycle = rate(instruction, cpu).per_cycle
        except KernelError as error:
            missing[kind] = str(error)
            continue
        relative = per_cycle.iqr / per_cycle.median
        instructions[kind] = {"median": 1.0 / per_cycle.median, "iqr": relative / per_cycle.median}
    return {
        "format_version": 1,
        "date": datetime.date.today().isoformat(),
        "host": host.model_name,
        "spec": nearest.base_id,
        "match": f"{nearest.confidence}: {nearest.reason}",
        "target": target,
        "clock_hertz": asdict(clock_hertz(cpu)),
        "cycles_per_token": stages,
        "instruction_cycles": instructions,
        "missing": missing,
    }
