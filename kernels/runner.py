"""One operator of LookupFFN on random weights: `python -m kernels run`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.exact import gather_exact, layer_norm_exact, project_exact, scores_exact
from kernels.gemm import GemmFfn, gemm_exact, random_gemm_weights
from kernels.isa import ISAS, why_not
from kernels.library import KernelError
from kernels.lookup import LookupFfn
from kernels.measure import interleaved, pinned
from kernels.plan import Plan
from kernels.published import PublishedFfn
from kernels.weights import LookupWeights, ShapeError, random_weights

PROJECTION_OF = {"fp32": "fp32", "bf16": "bf16", "int8": "int16"}
ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "int16": 2, "int8": 1}


Prepared = tuple[Callable[[], Any], float, dict[str, float]]
"""(call, largest error over largest exact value, work of one call)."""


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
    dense: bool = False,
    intermediate: int = 2048,
    gemm_library: str = "onednn",
    stripe: int | None = None,
    page_size: str = "2MiB",
) -> dict[str, Any]:
    """Times an operator and compares it with float64; the record's names carry the units."""
    if isa is not None and isa in ISAS and (reason := why_not(ISAS[isa])):
        raise KernelError(f"--isa {isa}: {reason}")
    if rows & (rows - 1):
        raise ShapeError(f"rows must be a power of two, got {rows}")
    if operator == "bh4" and dense:
        raise ShapeError("--dense is for other operators: bh4 is not a plain matrix")
    if operator == "gemm":
        return _run_gemm(batch, hidden, intermediate, dtype, gemm_library, threads, seed)
    form = "dense" if dense or operator == "dense" else "bh4"
    columns = hidden if dim is None else dim
    projected = PROJECTION_OF[dtype] if projection is None else projection
    weights = random_weights(hidden, columns, tables, rows, projection=form, block=block, seed=seed)
    x = np.random.default_rng(seed + 1).standard_normal((batch, hidden)).astype(np.float32)
    if operator == "published":
        if (dtype, projected, variant, scales) != ("fp32", "fp32", None, None):
            raise ShapeError("the published loops are fp32 and have no variants")
        other = PublishedFfn.from_weights(weights, threads=threads, isa=isa)
        prepare: Callable[[], Prepared] = functools.partial(_published, other, weights, x)
    else:
        table_scales = int(scales) if scales and scales.isdigit() else scales or "table"
        ffn = LookupFfn(
            weights, projection=projected, table=dtype, threads=threads, isa=isa, table_scales=table_scales,  # type: ignore[arg-type]
            stripe=stripe, page_2m=page_size == "2MiB",
        )  # fmt: skip
        prepare = functools.partial(_stage, operator, ffn, weights, x, ffn.plan(batch, variant))
    record: dict[str, Any] = {
        "operator": operator, "batch": batch, "hidden": hidden, "tables": tables, "rows": rows, "columns": columns,
        "projection": form, "block": block if form == "bh4" else None, "projection_dtype": projected, "table_dtype": dtype,
        "table_scales": scales or "table", "variant": variant or "by batch", "threads": threads, "isa": isa or "best",
        "stripe_columns": stripe or "by dtype", "page_size": page_size,
    }  # fmt: skip
    return record | _timed(operator, batch, prepare)


def _timed(operator: str, batch: int, prepare: Callable[[], Prepared]) -> dict[str, Any]:
    with pinned():
        call, error, work = prepare()
        timing = interleaved({operator: call})[operator]
    return {
        "seconds_median": timing.seconds_median, "seconds_min": timing.seconds_min,
        "seconds_iqr": timing.seconds_iqr, "rounds": timing.rounds,
        "microseconds_per_token": timing.seconds_median / batch * 1e6, "relative_error": error,
        **{f"{name}_per_second": amount / timing.seconds_median for name, amount in work.items()},
    }  # fmt: skip


def _run_gemm(
    batch: int, hidden: int, intermediate: int, dtype: str, gemm_library: str, threads: int, seed: int
) -> dict[str, Any]:
    weights = random_gemm_weights(hidden, intermediate, seed)
    x = np.random.default_rng(seed + 1).standard_normal((batch, hidden)).astype(np.float32)
    ffn = GemmFfn(weights, library=gemm_library, dtype=dtype, threads=threads)  # type: ignore[arg-type]

    def prepare() -> Prepared:
        y = ffn(x)
        flop = 4.0 * batch * hidden * intermediate
        return ffn.prepare(x, y), _relative(y, gemm_exact(x, weights)), {"flop": flop}

    used = ffn.library
    record: dict[str, Any] = {
        "operator": "gemm", "batch": batch, "hidden": hidden, "intermediate": intermediate, "gemm_dtype": dtype,
        "gemm_library": used.name, "gemm_library_version": used.version, "gemm_core_type": used.core_type, "threads": threads,
    }  # fmt: skip
    return record | _timed("gemm", batch, prepare)


def _published(ffn: PublishedFfn, w: LookupWeights, x: Any) -> Prepared:
    """As `_stage`, but against the codes of `LookupFfn` in fp32: where a Z is within rounding of zero, one may differ."""
    y = ffn(x)
    reference = LookupFfn(w)
    exact = gather_exact(*reference.codes_and_scores(reference.project(x)), w)
    return (ffn.prepare(x, y), _relative(y, exact), {})


def _stage(operator: str, ffn: LookupFfn, w: LookupWeights, x: Any, plan: Plan) -> Prepared:
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
