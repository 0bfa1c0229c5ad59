"""What the in-core model is held to: stages whose data lie in L1, the marked loops that they spend their time in, and the
phase of the model's own lowering that predicts them. Nothing here counts operations: simulator/lower_lookup.py does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.incore import core_cycles
from simulator.lower_lookup import lower_lookup
from simulator.lowering import Context
from simulator.machine import Machine
from simulator.phases import Phase
from simulator.resources import broadcastable, resolve
from simulator.schedule import SPLIT_TOKENS, UNBOUNDED, LookupSchedule
from simulator.workload import LookupFfn

BATCH = 48.0
BLOCK = LookupFfn(hidden=64, output=64, tables=8, rows=256, stages=1)
"""One block of 64 x 64 (16 KiB in fp32) and one stage."""

TAIL = LookupFfn(hidden=512, output=64, tables=64, rows=256, stages=1)
SCORES = LookupFfn(hidden=512, output=64, tables=128, rows=256)
NORMALISED = LookupFfn(hidden=512, output=64, tables=128, rows=16)
"""Codes of 4 bits: LayerNorm does not also write its row in plane order."""

PER_DWORD = {"fp32": 1, "bf16": 2, "int16": 2, "int8": 4}
COLUMNS = 256


@dataclass(frozen=True)
class Item:
    """One stage. `name`: operator, dtype, 'zmm' or 'ymm'; `isa`: kernels that it is built from; `operator`: its shape;
    `phase`: the model's; `loops`: (source file, mark, iterations a token), empty where not all of it is marked."""

    name: str
    isa: str
    phase: str
    operator: LookupFfn
    loops: tuple[tuple[str, str, float], ...] = ()

    @property
    def stage(self) -> str:
        """'block_product', 'tail', 'gather', 'code_score' or 'layer_norm'."""
        return self.name.split()[0]

    @property
    def dtype(self) -> str:
        """Data type of the tables or of the projection."""
        return self.name.split()[1]

    @property
    def narrow(self) -> bool:
        """Whether it runs on 256-bit vectors."""
        return self.name.endswith("ymm")


def gather_shape(dtype: str) -> LookupFfn:
    """16 KiB of rows: 256 columns, two rows a table."""
    element = {"fp32": 4, "bf16": 2, "int8": 1}[dtype]
    return LookupFfn(hidden=64, output=COLUMNS, tables=16384 // (2 * COLUMNS * element), rows=2, table_dtype=dtype)  # type: ignore[arg-type]


def _blocks() -> list[Item]:
    found = []
    for dtype, isa in (("fp32", "avx512"), ("bf16", "avx512_bf16"), ("int16", "avx512_vnni"), ("int8", "avx512_vnni")):
        operator = _projected(BLOCK, dtype)
        loops = ((f"bh4/{isa}.cpp", f"six_{dtype}", 64 / PER_DWORD[dtype] / 6),)
        found.append(Item(f"block_product {dtype} zmm", isa, "block_gemm", operator, loops))
        tail = (("bh4/avx512.cpp", "butterfly 8 1", 4.0), ("bh4/avx512.cpp", "mix", 32.0)) if dtype == "fp32" else ()
        found.append(Item(f"tail {dtype} zmm", isa, "hadamard", _projected(TAIL, dtype), tail))
    for dtype, mark in (("fp32", "block 6 21"), ("bf16", "block 6 22"), ("int16", "block 6 23")):
        loops = (("bh4/avx2.cpp", mark, 4 * 64 / PER_DWORD[dtype] / 6),)
        found.append(Item(f"block_product {dtype} ymm", "avx2", "block_gemm", _projected(BLOCK, dtype), loops))
    return found


def _projected(shape: LookupFfn, dtype: str) -> LookupFfn:
    return LookupFfn(
        shape.hidden, shape.output, shape.tables, shape.rows, stages=shape.stages, projection_dtype=dtype  # type: ignore[arg-type]
    )  # fmt: skip


def _gathers() -> list[Item]:
    found = []
    for dtype, isa, mark, tables in (
        ("fp32", "avx512", "gather 4 16", 1), ("bf16", "avx512", "gather 2 16", 1), ("int8", "avx512_vnni", "gather 1 4", 4),
    ):  # fmt: skip
        shape = gather_shape(dtype)
        loops = ((f"gather/{isa}.cpp", mark, shape.tables / tables),)
        found.append(Item(f"gather {dtype} zmm", isa, "gather", shape, loops))
    for dtype, columns in (("fp32", 8), ("bf16", 32), ("int8", 64)):
        shape = gather_shape(dtype)
        loops = (("gather/avx2.cpp", f"gather {dtype}", shape.tables * COLUMNS / columns),)
        found.append(Item(f"gather {dtype} ymm", "avx2", "gather", shape, loops))
    return found


def _others() -> list[Item]:
    wide = tuple(
        ("layer_norm/avx512.cpp", mark, trips) for mark, trips in (("sum", 8.0), ("squares", 8.0), ("scale", 32.0))
    )
    narrow = tuple(
        ("layer_norm/avx2.cpp", mark, trips) for mark, trips in (("sum", 32.0), ("squares", 32.0), ("scale", 64.0))
    )
    return [
        Item(
            "code_score fp32 zmm", "avx512", "code_score", SCORES, (("code_score/avx512.cpp", "code_score 8 0", 16.0),)
        ),
        Item("code_score fp32 ymm", "avx2", "code_score", SCORES, (("code_score/avx2.cpp", "code_score", 128.0),)),
        Item("layer_norm fp32 zmm", "avx512", "layer_norm", NORMALISED, wide),
        Item("layer_norm fp32 ymm", "avx2", "layer_norm", NORMALISED, narrow),
    ]


ITEMS = (*_blocks(), *_gathers(), *_others())


def phase_of(item: Item, machine: Machine) -> Phase:
    """The phase of the model's lowering, for BATCH tokens on one thread, hot."""
    schedule = LookupSchedule(
        token_tile=BATCH,
        table_group=UNBOUNDED,
        column_stripe=COLUMNS,
        split=SPLIT_TOKENS,
        prefetch_bytes=0.0,
        folded=1.0,
    )
    context = Context(batch=BATCH, layers=1.0, evicted_bytes=0.0)
    phases = lower_lookup(item.operator, schedule, broadcastable(resolve(machine, 1.0)), context)
    return next(phase for phase in phases if phase.name == item.phase)


def predicted_cycles(item: Item, machine: Machine) -> float:
    """Cycles a token that simulator/incore.py gives the stage on one core."""
    r = broadcastable(resolve(machine, 1.0))
    return float(core_cycles(phase_of(item, machine).work, r).total) / BATCH


def loop_cycles(item: Item, cycles: Mapping[tuple[str, str], float]) -> float | None:
    """Cycles a token of the marked loops, from cycles an iteration by (source file, mark); None if one is missing."""
    if not item.loops or any((source, mark) not in cycles for source, mark, _ in item.loops):
        return None
    return sum(trips * cycles[source, mark] for source, mark, trips in item.loops)
