"""Held-out points drawn by seed from ranges: nobody picks them, and every seed gives others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    def pair(self, dtypes: int) -> Iterator[Point]:
        """One FFN in both forms, so many precisions of each: the look-up ones and the GEMM ones under the same conditions."""
        while True:
            tables, rows, _ = self.tables()
            hidden = int(self.pick((320, 384, 448, 512, 576, 640, 768)))
            if tables >= 32 and tables * rows * hidden <= LAYER_ELEMENTS:
                break
        intermediate = int(self.pick((2, 3, 4))) * hidden
        around, batch = self.surroundings(), self.batch(2048.0)
        for projection, table in _some(self.random, LOOKUP_DTYPES, dtypes):
            stripe = 128 if table == "int8" else 256
            stripe = min(stripe, -(-hidden // 64) * 64)
            shape = (tables, around["threads"], -(-hidden // stripe), rows * stripe * ELEMENT_BYTES[table])
            yield Point(
                "lookup_ffn", batch=batch, hidden=hidden, tables=tables, rows=rows, columns=hidden, stripe=stripe,
                projection_dtype=projection, table_dtype=table, nest=nest_of(default_plan(batch, *shape)), **around,
            )  # fmt: skip
        for library, dtype in _some(self.random, GEMM_DTYPES, dtypes):
            yield Point(
                "gemm_ffn", batch=batch, hidden=hidden, intermediate=intermediate, gemm_dtype=dtype, library=library,
                **around,
            )  # fmt: skip


def _some(random: np.random.Generator, values: Sequence[Any], count: int) -> list[Any]:
    return [values[i] for i in sorted(random.permutation(len(values))[:count])]


def held_out(seed: int, threads: Sequence[int], *, pairs: int, dtypes: int, stages: int) -> list[Point]:
    """`pairs` FFNs in both forms (2 x `dtypes` points each), and `stages` stages: of four two gathers, a BH4, a code+score."""
    draw = Draw(seed, threads)
    found = [point for _ in range(pairs) for point in draw.pair(dtypes)]
    kinds = (draw.gather, draw.bh4, draw.gather, draw.code_score)
    return found + [kinds[i % len(kinds)]() for i in range(stages)]
