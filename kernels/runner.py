"""One operator of LookupFFN on random weights: `python -m kernels run`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.lookup import LookupFfn
from kernels.measure import interleaved, pinned
from kernels.packing import hadamard
from kernels.plan import Plan
from kernels.published import PublishedFfn
from kernels.weights import MIX_INPUT, MIX_PROJECTED, LookupWeights, ShapeError, random_weights

PROJECTION_OF = {"fp32": "fp32", "bf16": "bf16", "int8": "int16"}
ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "int16": 2, "int8": 1}


def run_operator(
    operator: str,
    *,
    batch: int,
    hidden: int,
    tables: int,
    rows: int,
    dim: int | None,
    block: int,
    dtype: str,
    projection: str | None,
    variant: str | None,
    threads: int,
    isa: str | None,
    seed: int,
    scales: str | None = None,
) -> dict[str, Any]:
    """Times an operator and compares it with float64; the record's names carry the units."""
    if rows & (rows - 1):
        raise ShapeError(f"rows must be a power of two, got {rows}")
    columns = hidden if dim is None else dim
    projected = PROJECTION_OF[dtype] if projection is None else projection
    weights = random_weights(hidden, columns, tables, rows, block=block, seed=seed)
    x = np.random.default_rng(seed + 1).standard_normal((batch, hidden)).astype(np.float32)
    if operator == "published":
        if (dtype, projected, variant, scales) != ("fp32", "fp32", None, None):
            raise ShapeError("the published loops are fp32 and have no variants")
        other = PublishedFfn.from_weights(weights, threads=threads, isa=isa)
        prepare = functools.partial(_published, other, weights, x)
    else:
        table_scales = int(scales) if scales and scales.isdigit() else scales or "table"
        ffn = LookupFfn(weights, projection=projected, table=dtype, threads=threads, isa=isa, table_scales=table_scales)  # type: ignore[arg-type]
        prepare = functools.partial(_stage, operator, ffn, weights, x, ffn.plan(batch, variant))
    with pinned():
        call, error, work = prepare()
        timing = interleaved({operator: call})[operator]
    record: dict[str, Any] = {
        "operator": operator, "batch": batch, "hidden": hidden, "tables": tables, "rows": rows, "columns": columns,
        "block": block, "projection_dtype": projected, "table_dtype": dtype, "table_scales": scales or "table",
        "variant": variant or "by batch",
        "threads": threads, "isa": isa or "best", "seconds_median": timing.seconds_median, "seconds_min": timing.seconds_min,
        "seconds_iqr": timing.seconds_iqr, "rounds": timing.rounds,
        "microseconds_per_token": timing.seconds_median / batch * 1e6, "relative_error": error,
    }  # fmt: skip
    for name, amount in work.items():
        record[f"{name}_per_second"] = amount / timing.seconds_median
    return record


def _published(ffn: PublishedFfn, w: LookupWeights, x: Any) -> tuple[Callable[[], Any], float, dict[str, float]]:
    """As `_stage`, but against the codes of `LookupFfn` in fp32: where a Z is within rounding of zero, one may differ."""
    y = ffn(x)
    reference = LookupFfn(w)
    exact = gather_exact(*reference.codes_and_scores(reference.project(x)), w)
    return (ffn.prepare(x, y), _relative(y, exact), {})


def _stage(
    operator: str, ffn: LookupFfn, w: LookupWeights, x: Any, plan: Plan
) -> tuple[Callable[[], Any], float, dict[str, float]]:
    """(call, largest error over largest exact value, work of one call)."""
    batch = len(x)
    if operator == "lookup_ffn":
        y = np.empty((batch, w.columns), dtype=np.float32)
        ffn(x, y, plan)
        z = ffn.project(x)
        exact = gather_exact(*ffn.codes_and_scores(z), w)
        return (lambda: ffn(x, y, plan)), _relative(y, exact), {}
    normalise, x1, mix = ffn.layer_norm_call(x)
    normalise()
    if operator == "layer_norm":
        return normalise, _relative(x1[:, : w.hidden], layer_norm_exact(x, w)), {"bytes": 8.0 * x.size}
    project, z = ffn.project_call(x1, mix)
    project()
    if operator == "bh4":
        assert w.blocks is not None
        return (
            project,
            _relative(ffn.project(x), bh4_exact(layer_norm_exact(x, w), w)),
            {"flop": 2.0 * batch * w.blocks.size},
        )
    score, codes, scores = ffn.code_score_call(z)
    score()
    if operator == "code_score":
        natural = ffn.project(x)
        exact = scores_exact(natural, w)
        return score, _relative(ffn.codes_and_scores(natural)[1], exact), {"exponentials": float(batch * w.outputs)}
    gather, sums = ffn.gather_call(codes, scores, plan)
    gather()
    exact = gather_exact(codes[:, : w.table_count], scores[:, : w.table_count], w)
    row_bytes = batch * w.table_count * w.columns * ELEMENT_BYTES[ffn.table]
    return gather, _relative(sums[:, : w.columns], exact), {"row_bytes": float(row_bytes)}


def _relative(found: Any, exact: Any) -> float:
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def layer_norm_exact(x: Any, w: LookupWeights) -> Any:
    """LayerNorm in float64."""
    x = x.astype(np.float64)
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * w.gamma + w.beta


def bh4_exact(x1: Any, w: LookupWeights) -> Any:
    """Z of normalised inputs in float64."""
    assert w.blocks is not None
    padded = np.zeros((len(x1), w.padded))
    padded[:, : w.hidden] = x1
    transform, parts = hadamard(w.padded), []
    for repeat in w.blocks.astype(np.float64):
        y = padded
        for stage in repeat:
            size = stage.shape[-1]
            y = np.einsum("noi,bni->bno", stage, y.reshape(len(y), -1, size)).reshape(len(y), -1) @ transform
        parts.append(MIX_PROJECTED * y + MIX_INPUT * padded)
    return np.concatenate(parts, axis=1)[:, : w.outputs] + w.projection_bias


def scores_exact(z: Any, w: LookupWeights) -> Any:
    """sum |z| / prod (1 + exp(-2 |z|)) in float64."""
    magnitude = np.abs(z.astype(np.float64)).reshape(len(z), w.table_count, -1)
    return magnitude.sum(axis=-1) / (1.0 + np.exp(-2.0 * magnitude)).prod(axis=-1)


def gather_exact(codes: Any, scores: Any, w: LookupWeights) -> Any:
    """The weighted sum of rows in float64."""
    total = np.zeros((len(codes), w.columns)) + w.bias
    for t in range(w.table_count):
        total += scores[:, t, None].astype(np.float64) * w.tables[t].astype(np.float64)[codes[:, t]]
    return total
