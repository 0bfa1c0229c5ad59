"""What is computed: one feed-forward network, repeated over the layers of a model.

Shapes, arithmetic, bytes and parameters are pure functions of the operator; nothing here knows a machine. A number may
be a NumPy array where the engine sweeps it (`batch`, `threads`, `skew`, `tables`, `rows`).

Counting rules: 1 multiply-add = 2 FLOP; the FLOP of a form exclude LayerNorm, the residual addition and exponentials
(those are counted apart), so that they equal the published figures (6 x fewer FLOP for t128-s8-bh4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

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


# --- shapes ---------------------------------------------------------------------------------------------------------


def hash_bits(op: LookupFfn) -> Any:
    """Bits of one code, tau = log2(rows)."""
    return np.log2(op.rows)


def projection_outputs(op: LookupFfn) -> Any:
    """Hash projections per token, M = tables * tau."""
    return op.tables * hash_bits(op)


def padded_hidden(op: LookupFfn) -> Any:
    """Width of the Walsh-Hadamard transform: hidden zero-padded to a power of two."""
    return 2.0 ** np.ceil(np.log2(op.hidden))


def repeats(op: LookupFfn) -> Any:
    """Independent BH4 transforms that are concatenated to reach M outputs."""
    return np.maximum(1.0, np.ceil(projection_outputs(op) / padded_hidden(op)))


def row_bytes(op: LookupFfn) -> Any:
    """Contiguous bytes of one table row."""
    return op.output * ELEMENT_BYTES[op.table_dtype]


def table_bytes(op: LookupFfn) -> Any:
    """Bytes of all tables of one layer."""
    return op.tables * op.rows * row_bytes(op)


# --- arithmetic -----------------------------------------------------------------------------------------------------


def flop_breakdown(op: GemmFfn | LookupFfn) -> dict[str, Any]:
    """FLOP of one token and layer by part; LayerNorm, residual, exponentials and activations are not among them."""
    if isinstance(op, GemmFfn):
        return {"gemm": 2.0 * op.matrices * op.hidden * op.intermediate}
    outputs = projection_outputs(op)
    parts: dict[str, Any] = {}
    if op.projection == "bh4":
        width, rep = padded_hidden(op), repeats(op)
        parts["block_gemm"] = 2.0 * rep * op.stages * width * op.block
        parts["fwht"] = rep * op.stages * width * np.log2(width)
        parts["mix_and_bias"] = 4.0 * rep * width
    else:
        parts["dense_projection"] = 2.0 * op.hidden * outputs + outputs
    parts["score"] = 5.0 * outputs + op.tables
    parts["gather"] = 2.0 * op.tables * op.output
    parts["output_bias"] = op.output
    return parts


def flop_per_token(op: GemmFfn | LookupFfn) -> Any:
    """FLOP of one token and layer: 4,194,304 for 512-2048-512, 702,080 for t128-s8-bh4."""
    return sum(flop_breakdown(op).values())


def exps_per_token(op: GemmFfn | LookupFfn) -> Any:
    """Exponentials of one token and layer: one per projection output, or one per activation (relu: none)."""
    if isinstance(op, GemmFfn):
        return 0.0 if op.activation == "relu" else op.intermediate
    return projection_outputs(op)


def projection_parameters(op: LookupFfn) -> Any:
    """Weights and biases of the hash projection."""
    outputs = projection_outputs(op)
    if op.projection == "bh4":
        return repeats(op) * op.stages * padded_hidden(op) * op.block + outputs
    return op.hidden * outputs + outputs


def parameters(op: GemmFfn | LookupFfn) -> Any:
    """Learned numbers of one layer, LayerNorm's two vectors excluded."""
    if isinstance(op, GemmFfn):
        biases = op.intermediate * (op.matrices - 1) + op.hidden if op.bias else 0.0
        return op.matrices * op.hidden * op.intermediate + biases
    return projection_parameters(op) + op.tables * op.rows * op.output + op.output


def weight_bytes(op: GemmFfn | LookupFfn) -> Any:
    """Bytes that every token reads in order: GEMM weights, or the projection's (biases are fp32)."""
    if isinstance(op, GemmFfn):
        biases = op.intermediate * (op.matrices - 1) + op.hidden if op.bias else 0.0
        return op.matrices * op.hidden * op.intermediate * WEIGHT_BYTES[op.dtype] + biases * 4.0
    outputs = projection_outputs(op)
    return (projection_parameters(op) - outputs) * ELEMENT_BYTES[op.projection_dtype] + outputs * 4.0


def model_bytes(workload: Workload) -> Any:
    """Bytes of all layers' weights and tables: what must fit in memory."""
    op = workload.operator
    layer = weight_bytes(op) + (table_bytes(op) if isinstance(op, LookupFfn) else 0.0)
    return layer * workload.layers


# --- indices --------------------------------------------------------------------------------------------------------


def row_probabilities(distribution: IndexDistribution, rows: float) -> Any:
    """Probability of each row of one table, most likely first for Zipf; shape (rows,)."""
    count = int(rows)
    if distribution.kind == "histogram":
        shares = np.asarray(distribution.histogram, dtype=float)
        return shares / shares.sum()
    skew = distribution.skew if distribution.kind == "zipf" else 0.0
    weights = np.arange(1, count + 1, dtype=float) ** -skew
    return weights / weights.sum()


def unique_rows(distribution: IndexDistribution, rows: Any, batch: Any) -> Any:
    """Expected distinct rows that `batch` independent tokens touch in one table: sum_i 1 - (1 - p_i)^batch."""
    if distribution.kind == "uniform" or (distribution.kind == "zipf" and distribution.skew == 0.0):
        return -rows * np.expm1(batch * np.log1p(-1.0 / rows))
    log_miss = np.log1p(-np.minimum(row_probabilities(distribution, rows), 1.0 - 1e-15))
    return -np.expm1(np.multiply.outer(np.asarray(batch, dtype=float), log_miss)).sum(axis=-1)


def effective_rows(distribution: IndexDistribution, rows: Any) -> Any:
    """Rows that a uniform choice of the same entropy would use: exp(entropy); `rows` itself when uniform."""
    if distribution.kind == "uniform" or (distribution.kind == "zipf" and distribution.skew == 0.0):
        return rows
    p = row_probabilities(distribution, rows)
    p = p[p > 0.0]
    return float(np.exp(-(p * np.log(p)).sum()))
