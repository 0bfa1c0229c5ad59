"""What a precision costs in accuracy: output error against float64, and codes that flip where Z is near zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.exact import codes_exact, gather_exact, layer_norm_exact, project_exact, scores_exact
from kernels.gemm import GemmFfn, GemmWeights, gemm_exact
from kernels.weights import LookupWeights

TOKENS = 512


@dataclass(frozen=True)
class OutputError:
    """output_error: relative distance (Frobenius) from float64. flipped_codes: share of codes that differ, None for GEMM."""

    output_error: float
    flipped_codes: float | None


def _tokens(hidden: int) -> Any:
    return np.random.default_rng(23).standard_normal((TOKENS, hidden), dtype=np.float32)


def _distance(found: Any, exact: Any) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def lookup_error(layer: Any, w: LookupWeights) -> OutputError:
    """Of a look-up layer: a `LookupFfn`, or the published loops (whose projection cannot be read: no flipped codes)."""
    x = _tokens(w.hidden)
    z = project_exact(layer_norm_exact(x, w), w)
    exact_codes = codes_exact(z, w)
    exact = gather_exact(exact_codes, scores_exact(z, w), w)
    flipped = None
    if hasattr(layer, "project"):
        flipped = float((layer.codes_and_scores(layer.project(x))[0] != exact_codes).mean())
    return OutputError(_distance(layer(x), exact), flipped)


def gemm_error(layer: GemmFfn, w: GemmWeights) -> OutputError:
    """Of a GEMM layer."""
    x = _tokens(w.hidden)
    return OutputError(_distance(layer(x), gemm_exact(x, w)), None)
