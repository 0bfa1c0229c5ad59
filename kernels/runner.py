"""One operator of LookupFFN on random weights: `python -m kernels run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.lookup import PROJECT_TILE, LookupFfn, Plan
from kernels.measure import interleaved, pinned
from kernels.packing import hadamard
from kernels.weights import MIX_INPUT, MIX_PROJECTED, LookupWeights, ShapeError, random_weights

PROJECTION_OF = {"fp32": "fp32", "bf16": "bf16", "int8": "int16"}
ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "int16": 2, "int8": 1}


def variant_plan(variant: str | None, batch: int, tables: int) -> Plan | None:
    """V1 table-outer, V2 token-outer, V3 tiles; None: the library's choice."""
    if variant is None:
        return None
    tile = {"v1": batch, "v2": 1, "v3": 10 * PROJECT_TILE}[variant]
    return Plan(PROJECT_TILE, tile, tables if variant == "v2" else min(32, tables), 1)


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
    dense: bool = False,
) -> dict[str, Any]:
    """Times an operator and compares it with float64; the record's names carry the units."""
    if rows & (rows - 1):
        raise ShapeError(f"rows must be a power of two, got {rows}")
    if operator != "lookup_ffn" and threads > 1:
        raise ShapeError("only lookup_ffn runs on several threads; a stage is timed on one")
    if operator == "bh4" and dense:
        raise ShapeError("--dense is for other operators: bh4 is not a plain matrix")
    form = "dense" if dense or operator == "dense" else "bh4"
    columns = hidden if dim is None else dim
    projected = PROJECTION_OF[dtype] if projection is None else projection
    weights = random_weights(hidden, columns, tables, rows, projection=form, block=block, seed=seed)
    ffn = LookupFfn(weights, projection=projected, table=dtype, threads=threads, isa=isa)  # type: ignore[arg-type]
    x = np.random.default_rng(seed + 1).standard_normal((batch, hidden)).astype(np.float32)
    plan = variant_plan(variant, batch, tables)
    with pinned():
        call, error, work = _stage(operator, ffn, weights, x, plan)
        timing = interleaved({operator: call})[operator]
    record: dict[str, Any] = {
        "operator": operator, "batch": batch, "hidden": hidden, "tables": tables, "rows": rows, "columns": columns,
        "projection": form, "block": block if form == "bh4" else None, "projection_dtype": projected, "table_dtype": dtype,
        "variant": variant or "by batch", "threads": threads, "isa": isa or "best",
        "seconds_median": timing.seconds_median, "seconds_min": timing.seconds_min,
        "seconds_iqr": timing.seconds_iqr, "rounds": timing.rounds,
        "microseconds_per_token": timing.seconds_median / batch * 1e6, "relative_error": error,
    }  # fmt: skip
    for name, amount in work.items():
        record[f"{name}_per_second"] = amount / timing.seconds_median
    return record


def _stage(
    operator: str, ffn: LookupFfn, w: LookupWeights, x: Any, plan: Plan | None
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
    if operator in ("bh4", "dense"):
        weights = w.dense if w.blocks is None else w.blocks
        assert weights is not None
        error = _relative(ffn.project(x), project_exact(layer_norm_exact(x, w), w))
        return project, error, {"flop": 2.0 * batch * weights.size}
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


def project_exact(x1: Any, w: LookupWeights) -> Any:
    """Z of normalised inputs in float64."""
    if w.dense is not None:
        return x1 @ w.dense.astype(np.float64).T + w.projection_bias
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
