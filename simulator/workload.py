"""What is computed: one feed-forward network, repeated over the layers of a model.

Shapes, arithmetic, bytes and parameters are pure functions of the operator; nothing here knows a machine. A number may
be a NumPy array where the engine sweeps it (`batch`, `threads`, `skew`, `tables`, `rows`).

Counting rules: 1 multiply-add = 2 FLOP; the FLOP of a form exclude LayerNorm, the residual addition and exponentials
(those are counted apart), so that they equal the published figures (6 x fewer FLOP for t128-s8-bh4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

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

PAGE_4K_BYTES, PAGE_2M_BYTES = 4096.0, 2.0**21
"""The two page sizes that may back weights and tables."""


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

    `page_bytes`: pages that back weights and tables, 4 KiB or 2 MiB.
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
    page_bytes: float = PAGE_2M_BYTES
    dense: str = ""
    source: str = ""
    verified: bool = True
    id: str = ""


# --- shapes ---------------------------------------------------------------------------------------------------------


def hash_bits(op: LookupFfn) -> Any:
    """Bits of one code, tau = log2(rows); raises ValueError unless rows is a power of two."""
    mantissa, exponent = _frexp(op.rows)
    if not (np.all(mantissa == 0.5) if isinstance(mantissa, np.ndarray) else mantissa == 0.5):
        raise ValueError(f"rows must be a power of two, got {op.rows}")
    return exponent - 1.0


def _frexp(value: Any) -> tuple[Any, Any]:
    """Mantissa in [0.5, 1) and exponent; exact, and far cheaper than NumPy's for a plain number."""
    return np.frexp(value) if isinstance(value, np.ndarray) else math.frexp(value)


def projection_outputs(op: LookupFfn) -> Any:
    """Hash projections per token, M = tables * tau."""
    return op.tables * hash_bits(op)


def padded_hidden(op: LookupFfn) -> Any:
    """D: the hidden size padded with zeros to a power of two, as the Walsh-Hadamard transform needs it."""
    mantissa, exponent = _frexp(op.hidden)
    return 2.0 ** (exponent - (mantissa == 0.5))


def repeats(op: LookupFfn) -> Any:
    """Independent BH4 transforms that together give projection_outputs(op) coordinates."""
    ratio = projection_outputs(op) / padded_hidden(op)
    return np.maximum(1.0, np.ceil(ratio)) if isinstance(ratio, np.ndarray) else max(1.0, float(math.ceil(ratio)))


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
        gate = {"gate": op.intermediate} if op.gated else {}
        return {"gemm": 2.0 * op.matrices * op.hidden * op.intermediate, **gate}
    outputs = projection_outputs(op)
    parts: dict[str, Any] = {}
    if op.projection == "bh4":
        width, rep = padded_hidden(op), repeats(op)
        parts["block_gemm"] = 2.0 * rep * op.stages * width * op.block
        parts["fwht"] = rep * op.stages * width * (_frexp(width)[1] - 1.0)
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


def activations_per_token(op: GemmFfn | LookupFfn) -> Any:
    """Activation evaluations (erf, tanh, sigmoid, maximum) of one token and layer."""
    return op.intermediate if isinstance(op, GemmFfn) else 0.0


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

_ALMOST_ONE = 1.0 - 2.0**-53
_CHUNK = 1 << 21


def row_probabilities(distribution: IndexDistribution, rows: float) -> FloatArray:
    """Probability of each of `rows` rows of one table, as a read-only array; raises ValueError on a wrong histogram."""
    shares: FloatArray = _probabilities(distribution.kind, float(distribution.skew), distribution.histogram, int(rows))
    return shares


@lru_cache(maxsize=256)
def _probabilities(kind: str, skew: float, histogram: tuple[float, ...], rows: int) -> FloatArray:
    if kind == "histogram":
        if len(histogram) != rows:
            raise ValueError(f"a histogram of {len(histogram)} shares does not fit tables of {rows} rows")
        shares = np.array(histogram, dtype=float)
        if np.any(shares < 0.0) or not 0.0 < shares.sum() < math.inf:
            raise ValueError("histogram shares must be >= 0 and not all zero")
    elif kind == "zipf":
        if skew < 0.0:
            raise ValueError(f"skew must be >= 0, got {skew}")
        shares = np.exp(-skew * np.log(np.arange(1, rows + 1, dtype=float)))
    else:
        shares = np.ones(rows)
    normalised: FloatArray = shares / shares.sum()
    normalised.flags.writeable = False
    return normalised


def unique_rows(distribution: IndexDistribution, rows: Any, batch: Any) -> Any:
    """Expected distinct rows of one table that `batch` tokens read: sum_i 1 - (1 - p_i)^batch, for batch >= 1.

    `rows`, `batch` and the skew broadcast. Uniform is a closed form; the others cost O(rows) a distinct batch.
    """
    if distribution.kind == "uniform":
        if isinstance(rows, (int, float)) and isinstance(batch, (int, float)):
            share = min(1.0 / rows, _ALMOST_ONE)
            return min(-rows * math.expm1(batch * math.log1p(-share)), batch)
        share = np.minimum(np.divide(1.0, rows), _ALMOST_ONE)
        return np.minimum(-rows * np.expm1(batch * np.log1p(-share)), batch)
    return _per_table(distribution, rows, batch, _unique)


def effective_rows(distribution: IndexDistribution, rows: Any) -> Any:
    """Rows that carry the traffic of one table: as many equally likely ones would have the same entropy."""
    if distribution.kind == "uniform":
        return rows
    return _per_table(distribution, rows, 1.0, _perplexity)


def _per_table(distribution: IndexDistribution, rows: Any, batch: Any, measure: Callable[..., Any]) -> Any:
    """`measure(probabilities, batch)` over broadcast skew, rows and batch, once per distinct (skew, rows)."""
    if np.ndim(rows) == 0 and np.ndim(distribution.skew) == 0:
        result = measure(row_probabilities(distribution, float(rows)), np.asarray(batch, dtype=float))
        return float(result) if np.ndim(batch) == 0 else result
    skews, tables, batches = np.broadcast_arrays(np.asarray(distribution.skew, dtype=float), rows, batch)
    result = np.empty(batches.shape)
    for skew, count in sorted(set(zip(skews.ravel().tolist(), tables.ravel().tolist(), strict=True))):
        chosen = (skews == skew) & (tables == count)
        probabilities = row_probabilities(replace(distribution, skew=skew), count)
        result[chosen] = measure(probabilities, np.asarray(batches[chosen], dtype=float))
    return result


def _unique(probabilities: FloatArray, batch: FloatArray) -> FloatArray:
    never = np.log1p(-np.minimum(probabilities, _ALMOST_ONE))
    distinct, inverse = np.unique(batch.ravel(), return_inverse=True)
    step = max(1, _CHUNK // len(never))
    parts = [-np.expm1(distinct[i : i + step, None] * never).sum(axis=-1) for i in range(0, len(distinct), step)]
    found = np.minimum(np.concatenate(parts), distinct) if parts else distinct
    return np.asarray(found[inverse].reshape(batch.shape))


def _perplexity(probabilities: FloatArray, batch: FloatArray) -> FloatArray:
    used = probabilities[probabilities > 0.0]
    rows = min(math.exp(-float(np.sum(used * np.log(used)))), float(len(used)))
    return np.full(batch.shape, rows)


# --- one workload from another --------------------------------------------------------------------------------------

PROJECTION_DTYPES: dict[TableDtype, ProjectionDtype] = {"fp32": "fp32", "bf16": "bf16", "int8": "int16"}
"""The projection that goes with a table dtype by default: int8 is too coarse for codes that flip at zero."""


def with_dtype(workload: Workload, dtype: str) -> Workload:
    """The workload at another dtype: a GEMM in it; a look-up with tables in it and the projection that goes with them.

    Raises ValueError for a dtype that the form does not have (a look-up: the weight-only ones).
    """
    op = workload.operator
    choices = WEIGHT_BYTES if isinstance(op, GemmFfn) else PROJECTION_DTYPES
    if dtype not in choices:
        form = "GEMM" if isinstance(op, GemmFfn) else "look-up"
        raise ValueError(f"a {form} FFN has no {dtype} form; choose one of {', '.join(choices)}")
    if isinstance(op, GemmFfn):
        return replace(workload, operator=replace(op, dtype=cast(GemmDtype, dtype)))
    table_dtype = cast(TableDtype, dtype)
    changed = replace(op, table_dtype=table_dtype, projection_dtype=PROJECTION_DTYPES[table_dtype])
    return replace(workload, operator=changed)


def derive_lookup(
    workload: Workload,
    tables: float | None = None,
    rows: float = 256.0,
    projection: Literal["bh4", "dense"] = "bh4",
    block: float = 64.0,
    stages: float = 4.0,
) -> Workload:
    """A hypothetical LookupFFN in place of a GEMM workload, at its dtype: hidden / 4 tables unless stated.

    The published models are the 512-wide ones only; nothing is known about the quality of any other.
    """
    op = workload.operator
    if not isinstance(op, GemmFfn):
        raise ValueError(f"{workload.id or workload.name} is a look-up already; a GEMM workload is needed")
    count = float(math.ceil(op.hidden / 4.0)) if tables is None else float(tables)
    table_dtype: TableDtype = "int8" if op.dtype.startswith("int") else "bf16" if op.dtype == "bf16" else "fp32"
    lookup = LookupFfn(
        hidden=op.hidden,
        output=op.hidden,
        tables=count,
        rows=float(rows),
        projection=projection,
        block=float(block),
        stages=float(stages),
        table_dtype=table_dtype,
        projection_dtype=PROJECTION_DTYPES[table_dtype],
    )
    lookup = replace(lookup, block=min(lookup.block, padded_hidden(lookup)))
    label = workload.id or workload.name
    return replace(
        workload,
        name=f"hypothetical LookupFFN for {workload.name} ({count:g} tables x {rows:g} rows, {projection})",
        operator=lookup,
        dense=workload.id,
        source="extrapolation: " + ("tables = hidden / 4" if tables is None else "tables chosen by hand"),
        verified=False,
        id=f"hypo-{label}-t{count:g}",
    )
