"""Where each stage of the look-up layer stands against what bounds it: block products against the dot peak, code+score against
the exponential, LayerNorm against load and store ports, the gather against the rows that its cache level gives.

Peaks, row bandwidths and stages are measured in one run on one pinned thread, stages interleaved.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kernels import library
from kernels.library import I64, POINTER, KernelError
from kernels.lookup import LookupFfn
from kernels.measure import Timing, interleaved, pinned
from kernels.packing import Dtype
from kernels.peak import RATES, Instruction, rate
from kernels.plan import PROJECT_TILE, Plan
from kernels.probe import HUGE_PAGE, QUICK, Shape, allocate, measure
from kernels.tables import TableDtype, aligned
from kernels.timing import clock_hertz, usable_cpus
from kernels.weights import LookupWeights, random_weights

KINDS: tuple[tuple[Dtype, TableDtype], ...] = (("fp32", "fp32"), ("bf16", "bf16"), ("int16", "int8"), ("int8", "int8"))
TOKENS = PROJECT_TILE
GATHER_TOKENS = 480
TILE_BYTES = 512 << 10
"""Of a group of tables over one stripe: it stays in an L2 of 1 MiB beside the sums."""
ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
STRIPE = 128
VECTOR_BYTES = 64
PEAKS = ("fma_fp32", "dot_bf16", "dot_int16", "dot_int8", "exp_vectors", "load", "store")
DOT = {"fp32": "fma_fp32", "bf16": "dot_bf16", "int16": "dot_int16", "int8": "dot_int8"}


@dataclass(frozen=True)
class Stage:
    """One measured stage. `bound_microseconds`: the least that `bound` allows a token; `share_of_bound`: that over the median."""

    stage: str
    projection_dtype: str
    table_dtype: str
    microseconds_per_token: float
    microseconds_min: float
    microseconds_iqr: float
    bound: str
    bound_microseconds: float
    share_of_bound: float


@dataclass(frozen=True)
class Wanted:
    """A stage to be timed: its call, tokens a call, and its bound in seconds a token."""

    stage: str
    projection: str
    table: str
    call: Callable[[], Any]
    tokens: int
    bound: str
    bound_seconds: float

    def result(self, timing: Timing) -> Stage:
        """What the timing says of it."""
        scale = 1e6 / self.tokens
        return Stage(
            self.stage, self.projection, self.table, timing.seconds_median * scale, timing.seconds_min * scale,
            timing.seconds_iqr * scale, self.bound, self.bound_seconds * 1e6,
            self.bound_seconds * self.tokens / timing.seconds_median,
        )  # fmt: skip


def peaks(cpu: int) -> dict[str, float]:
    """Instructions a second of 512-bit vectors. Raises KernelError where the CPU lacks one."""
    known = {i.name: i for i in RATES}
    return {name: rate(known.get(name) or Instruction(name, f"peak_{name}"), cpu).per_second.median for name in PEAKS}


def block_products_call(ffn: LookupFfn, tokens: int) -> Callable[[], Any]:
    """The block products of BH4 alone, on whatever activations lie in the scratch memory."""
    p = ffn._projection
    function = library.function("bh4", f"{p.symbol}_blocks")
    scratch_bytes = library.function("bh4", f"{p.symbol}_scratch")
    scratch_bytes.restype = I64
    scratch = aligned(np.zeros(scratch_bytes(ctypes.byref(p.struct), I64(tokens)), dtype=np.uint8))
    z = np.zeros((tokens, p.outputs), dtype=np.float32)
    pointer = [POINTER(a.ctypes.data) for a in (z, scratch)]

    def call(_keep: Any = (z, scratch, ffn)) -> None:
        function(ctypes.byref(p.struct), None, None, I64(tokens), pointer[0], I64(p.outputs), pointer[1])

    return call


def _encoding(w: LookupWeights, ffn: LookupFfn, top: dict[str, float]) -> list[Wanted]:
    """LayerNorm, BH4, its block products, code+score."""
    x = np.random.default_rng(1).standard_normal((TOKENS, w.hidden), dtype=np.float32)
    normalise, x1, mix = ffn.layer_norm_call(x)
    normalise()
    project, z = ffn.project_call(x1, mix)
    project()
    score, _, _ = ffn.code_score_call(z)
    vectors = w.padded / 16
    # x three times, gamma, beta, and the row once more for its copy in plane order; the row and its copy are stored.
    ports = max(6 * vectors / top["load"], 2 * vectors / top["store"])
    assert w.blocks is not None
    products = (
        w.blocks.size / {"fp32": 16, "bf16": 32, "int16": 32, "int8": 64}[ffn.projection] / top[DOT[ffn.projection]]
    )
    exponentials = w.outputs / 16 / top["exp_vectors"]
    kind = ffn.projection, ffn.table
    return [
        Wanted("layer_norm", *kind, normalise, TOKENS, "load, store ports", ports),
        Wanted("block_products", *kind, block_products_call(ffn, TOKENS), TOKENS, DOT[ffn.projection], products),
        Wanted("bh4", *kind, project, TOKENS, DOT[ffn.projection], products),
        Wanted("code_score", *kind, score, TOKENS, "exponentials alone", exponentials),
    ]


def gather_tile(table: TableDtype, rows: int) -> tuple[LookupFfn, Callable[[], Any], float]:
    """(layer, gather of GATHER_TOKENS tokens, bytes of rows a token) over one stripe of as many tables as fill TILE_BYTES."""
    count = TILE_BYTES // (256 * STRIPE * ELEMENT_BYTES[table])
    ffn = LookupFfn(random_weights(64, STRIPE, count, rows), projection="fp32", table=table, stripe=STRIPE)
    draw = np.random.default_rng(5)
    codes = draw.integers(0, rows, (GATHER_TOKENS, ffn._tables.tables)).astype(np.uint16)
    scores = draw.random(codes.shape, dtype=np.float32)
    call, _ = ffn.gather_call(codes, scores, Plan(PROJECT_TILE, GATHER_TOKENS, count, 0))
    return ffn, call, float(count * STRIPE * ELEMENT_BYTES[table])


def _gathers(table: TableDtype, cpu: int) -> list[Wanted]:
    """The gather of a tile in the L2, against the lower of the level's random-row bandwidth and its own rate from L1."""
    _, far, row_bytes = gather_tile(table, 256)
    _, near, _ = gather_tile(table, 2)
    with pinned():
        from_l1 = interleaved({"near": near})["near"].seconds_min / GATHER_TOKENS
    region = allocate(4 << 20, HUGE_PAGE)
    shape = Shape("rows", TILE_BYTES, 1, STRIPE * ELEMENT_BYTES[table])
    point = measure(shape, region, QUICK, [cpu])
    assert point.bytes_per_second is not None
    from_level = row_bytes / point.bytes_per_second.median
    bound, seconds = ("its rate from L1", from_l1) if from_l1 >= from_level else ("random rows of L2", from_level)
    return [
        Wanted("gather_l1", "", table, near, GATHER_TOKENS, "64-byte loads", 0.0),
        Wanted("gather_l2_tile", "", table, far, GATHER_TOKENS, bound, seconds),
    ]


def stage_benchmarks(rounds: int = 21) -> dict[str, Any]:
    """Every stage of t128-s8-bh4's shape in every precision. Raises KernelError or BuildError."""
    cpu, start = usable_cpus()[0], time.monotonic()
    top = peaks(cpu)
    weights = random_weights(512, 512, 128, 256)
    wanted: list[Wanted] = []
    for projection, table in KINDS:
        wanted += _encoding(weights, LookupFfn(weights, projection=projection, table=table), top)
    for table in dict.fromkeys(table for _, table in KINDS):
        near, far = _gathers(table, cpu)
        row_bytes = TILE_BYTES / 256
        loads = row_bytes / VECTOR_BYTES / top["load"]
        wanted += [Wanted(near.stage, "", table, near.call, near.tokens, near.bound, loads), far]
    calls = {f"{i}": w.call for i, w in enumerate(wanted)}
    with pinned():
        found = interleaved(calls, rounds=rounds, seconds_a_round=0.005)
    if not found:
        raise KernelError("nothing was measured")
    return {
        "probe": "stages", "tokens": TOKENS, "gather_tokens": GATHER_TOKENS, "tile_bytes": TILE_BYTES, "cpu": cpu,
        "clock_hertz": asdict(clock_hertz(cpu)), "peaks_per_second": top,
        "elapsed_seconds": time.monotonic() - start,
        "stages": [asdict(w.result(found[f"{i}"])) for i, w in enumerate(wanted)],
    }  # fmt: skip
