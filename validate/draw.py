"""Held-out points drawn by seed from ranges: nobody picks them, and every seed gives others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.plan import default_plan, variant_plan
from validate.calls import nest_of
from validate.points import ELEMENT_BYTES, Point

LOOKUP_DTYPES = (("fp32", "fp32"), ("bf16", "bf16"), ("int16", "int8"), ("int8", "int8"))
GEMM_DTYPES = (("onednn", "fp32"), ("onednn", "bf16"), ("onednn", "int8"), ("openblas", "fp32"))
MODEL_LAYERS = 4
LAYER_ELEMENTS = 1 << 24
"""Table elements of one layer at most: 64 MiB in fp32."""


class Draw:
    """One stream of points; `threads` are the numbers of threads that this host offers."""

    def __init__(self, seed: int, threads: Sequence[int]) -> None:
        self.random = np.random.default_rng([seed, 1403])
        self.threads = tuple(threads)

    def pick(self, values: Sequence[Any]) -> Any:
        """One of them, alike likely."""
        return values[int(self.random.integers(len(values)))]

    def batch(self, most: float) -> int:
        """Log-uniform from 1 to `most`."""
        return max(1, round(float(np.exp(self.random.uniform(0.0, np.log(most))))))

    def surroundings(self) -> dict[str, Any]:
        """Threads, residency, layers."""
        residency = self.pick(("hot", "model"))
        return {
            "threads": int(self.pick(self.threads)),
            "residency": residency,
            "layers": MODEL_LAYERS if residency == "model" else 1,
        }

    def tables(self) -> tuple[int, int, int]:
        """(T, R, columns)."""
        while True:
            shape = (
                int(self.pick((16, 24, 32, 48, 64, 96, 128, 192, 256))),
                int(self.pick((64, 128, 256, 512, 1024))),
                int(self.pick((256, 384, 512, 640, 768, 1024))),
            )
            if shape[0] * shape[1] * shape[2] <= LAYER_ELEMENTS:
                return shape

    def bh4(self) -> Point:
        """A projection alone."""
        return Point(
            "bh4",
            batch=self.batch(600.0),
            hidden=int(self.pick((192, 256, 384, 512, 768, 1024))),
            tables=int(self.pick((32, 64, 96, 128, 192, 256))),
            rows=int(self.pick((64, 128, 256, 512))),
            projection_dtype=str(self.pick(("fp32", "bf16", "int16", "int8"))),
            **self.surroundings(),
        )

    def code_score(self) -> Point:
        """Codes and scores alone."""
        return Point(
            "code_score",
            batch=self.batch(1000.0),
            hidden=512,
            tables=int(self.pick((32, 64, 96, 128, 192, 256))),
            rows=int(self.pick((64, 128, 256, 512))),
            projection_dtype=str(self.pick(("fp32", "bf16"))),
            **self.surroundings(),
        )

    def gather(self) -> Point:
        """A gather alone: the library's choice of nest (two of seven) or a named variant."""
        tables, rows, columns = self.tables()
        table = str(self.pick(("fp32", "bf16", "int8")))
        around, batch, stripe = self.surroundings(), self.batch(3000.0), int(self.pick((64, 128, 256)))
        stripe = min(stripe, columns)
        shape = (tables, around["threads"], -(-columns // stripe), rows * stripe * ELEMENT_BYTES[table])
        variant = self.pick((None, None, "v1", "v2", "v3", "v4", "v5"))
        return Point(
            "gather", batch=batch, tables=tables, rows=rows, columns=columns, stripe=stripe, table_dtype=table,
            page=str(self.pick(("2MiB", "2MiB", "4KiB"))), skew=float(self.pick((0.0, 0.0, 0.0, 0.8, 1.2))),
            nest=nest_of(variant_plan(variant, batch, *shape)), **around,
        )  # fmt: skip

    def layer(self) -> tuple[int, int, int, int]:
        """(T, R, d, h) of an FFN in both forms."""
        while True:
            tables, rows, _ = self.tables()
            hidden = int(self.pick((320, 384, 448, 512, 576, 640, 768)))
            if tables >= 32 and tables * rows * hidden <= LAYER_ELEMENTS:
                return tables, rows, hidden, int(self.pick((2, 3, 4))) * hidden

    def pair(self, dtypes: int) -> list[Point]:
        """One FFN in both forms, so many precisions of each: the look-up ones and the GEMM ones under the same conditions."""
        tables, rows, hidden, intermediate = self.layer()
        around, batch = self.surroundings(), self.batch(2048.0)
        found = [
            lookup_point(projection, table, batch, (tables, rows, hidden), around)
            for projection, table in _some(self.random, LOOKUP_DTYPES, dtypes)
        ]
        return found + [
            gemm_point(library, dtype, batch, (hidden, intermediate), around)
            for library, dtype in _some(self.random, GEMM_DTYPES, dtypes)
        ]

    def sweep(self, batches: int) -> list[Point]:
        """One FFN in both forms, one precision of each, over so many batches: where the faster form changes."""
        tables, rows, hidden, intermediate = self.layer()
        around = self.surroundings()
        projection, table = self.pick(LOOKUP_DTYPES)
        library, dtype = self.pick(GEMM_DTYPES[:-1])
        tokens = sorted({round(2048.0 ** (i / max(batches - 1, 1))) for i in range(batches)})
        found = [lookup_point(projection, table, batch, (tables, rows, hidden), around) for batch in tokens]
        return found + [gemm_point(library, dtype, batch, (hidden, intermediate), around) for batch in tokens]


def lookup_point(projection: str, table: str, batch: int, shape: tuple[int, int, int], around: dict[str, Any]) -> Point:
    """A LookupFFN of (T, R, d) under the library's own loop nest."""
    tables, rows, hidden = shape
    stripe = min(128 if table == "int8" else 256, -(-hidden // 64) * 64)
    plan = default_plan(batch, tables, around["threads"], -(-hidden // stripe), rows * stripe * ELEMENT_BYTES[table])
    return Point(
        "lookup_ffn", batch=batch, hidden=hidden, tables=tables, rows=rows, columns=hidden, stripe=stripe,
        projection_dtype=projection, table_dtype=table, nest=nest_of(plan), **around,
    )  # fmt: skip


def gemm_point(library: str, dtype: str, batch: int, shape: tuple[int, int], around: dict[str, Any]) -> Point:
    """A GEMM FFN of (d, h)."""
    hidden, intermediate = shape
    return Point(
        "gemm_ffn", batch=batch, hidden=hidden, intermediate=intermediate, gemm_dtype=dtype, library=library, **around
    )


def _some(random: np.random.Generator, values: Sequence[Any], count: int) -> list[Any]:
    return [values[i] for i in sorted(random.permutation(len(values))[:count])]


@dataclass(frozen=True)
class Amount:
    """How many groups of points: pairs with so many precisions of each form, sweeps of so many batches, stages in fours."""

    pairs: int
    dtypes: int
    sweeps: int
    batches: int
    stages: int


QUICK, FULL = Amount(2, 3, 1, 3, 12), Amount(9, 3, 3, 5, 44)
STAGE_GROUP = 4


def held_out(seed: int, threads: Sequence[int], amount: Amount) -> list[list[Point]]:
    """Groups of points that are timed in turn: pairs, sweeps, stages (of four two gathers, a BH4, a code+score)."""
    draw = Draw(seed, threads)
    groups = [draw.pair(amount.dtypes) for _ in range(amount.pairs)]
    groups += [draw.sweep(amount.batches) for _ in range(amount.sweeps)]
    kinds = (draw.gather, draw.bh4, draw.gather, draw.code_score)
    stages = [kinds[i % len(kinds)]() for i in range(amount.stages)]
    return groups + [stages[i : i + STAGE_GROUP] for i in range(0, len(stages), STAGE_GROUP)]
