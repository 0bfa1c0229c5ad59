"""The stages of LookupFFN in float64, for the errors that commands report. (Tests have an oracle of their own.)"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.packing import hadamard
from kernels.weights import EPSILON, MIX_INPUT, MIX_PROJECTED, LookupWeights


def layer_norm_exact(x: Any, w: LookupWeights) -> Any:
    """LayerNorm in float64."""
    x = x.astype(np.float64)
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON) * w.gamma + w.beta


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


def codes_exact(z: Any, w: LookupWeights) -> Any:
    """[B, T]: bit tau-1-j is z_j > 0."""
    bits = np.asarray(z).reshape(len(z), w.table_count, -1) > 0.0
    return bits @ (1 << np.arange(w.code_bits - 1, -1, -1))
