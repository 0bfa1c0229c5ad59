"""What is computed: one feed-forward network, repeated over the layers of a model.

Shapes, arithmetic, bytes and parameters are pure functions of the operator; nothing here knows a machine. A number may
be a NumPy array where the engine sweeps it (`batch`, `threads`, `skew`, `tables`, `rows`).

Counting rules: 1 multiply-add = 2 FLOP; the FLOP of a form exclude LayerNorm, the residual addition and exponentials
(those are counted apart), so that they equal the published figures (6 x fewer FLOP for t128-s8-bh4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GemmDtype = Literal["fp32", "bf16", "int8", "int8-weight-only", "int4-weight-only"]
TableDtype = Literal["fp32", "bf16", "int8"]
ProjectionDtype = Literal["fp32", "bf16", "int16", "int8"]
Activation = Literal["gelu", "silu", "relu"]
Residency = Literal["hot", "model"]

ELEMENT_BYTES = {"fp32": 4.0, "bf16": 2.0, "int16": 2.0, "int8": 1.0}
"""Bytes of one stored element."""

WEIGHT_BYTES = {
    "fp32": 4.0,
    "bf16": 2.0,
    "int8": 1.0,
    "int8-weight-only": 1.0625,  # 8 bits + an fp16 scale per group of 32
    "int4-weight-only": 0.5625,  # 4 bits + an fp16 scale per group of 32 (18 bytes per 32 weights)
}
"""Bytes of one stored GEMM weight, scales included."""


@dataclass(frozen=True)
class IndexDistribution:
    """How table rows are chosen: `uniform`, `zipf` with exponent `skew` >= 0, or a `histogram` of row shares."""

    kind: Literal["uniform", "zipf", "histogram"] = "uniform"
    skew: float = 0.0
    histogram: tuple[float, ...] = ()


@dataclass(frozen=True)
class GemmFfn:
    """Y = act(X W1 + b1) W2 + b2, or, `gated`, Y = (act(X Wg) * (X Wu)) Wd."""

    hidden: float
    intermediate: float
    dtype: GemmDtype = "fp32"
    gated: bool = False
    activation: Activation = "gelu"
    bias: bool = True

    @property
    def matrices(self) -> int:
        """Weight matrices of hidden x intermediate elements."""
        return 3 if self.gated else 2


@dataclass(frozen=True)
class LookupFfn:
    """LookupFFN: hash projection, `tables` tables of `rows` rows of `output` elements, weighted gather.

    `projection` 'bh4': `stages` x (block-diagonal of `block` x `block`, Walsh-Hadamard) on the zero-padded input,
    repeated until tables * log2(rows) outputs exist; 'dense': one hidden x (tables * log2(rows)) matrix.
    """

    hidden: float
    output: float
    tables: float
    rows: float
    projection: Literal["bh4", "dense"] = "bh4"
    block: float = 64
    stages: float = 4
    table_dtype: TableDtype = "fp32"
    projection_dtype: ProjectionDtype = "fp32"
    indices: IndexDistribution = IndexDistribution()


@dataclass(frozen=True)
class Workload:
    """One operator, `layers` of it in the model, `batch` tokens per call.

    residency 'model': the layers are cycled, so weights and tables of all layers compete for the caches; 'hot': one
    layer is repeated. `threads` None: every physical core of one socket. `dense` names the model preset (file stem)
    whose FFN a look-up form replaces.
    """

    name: str
    operator: GemmFfn | LookupFfn
    layers: float = 1
    batch: float = 512
    threads: float | None = None
    residency: Residency = "model"
    evicted_bytes_between_layers: float = 0.0
    dense: str = ""
    source: str = ""
    verified: bool = True
    id: str = ""
