"""LookupFFN in float64 NumPy, written from the arithmetic of training and sharing nothing with the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.weights import LookupWeights

Float64 = NDArray[np.float64]


def layer_norm(x: Any, w: LookupWeights) -> Float64:
    """(x - mean) / sqrt(variance + 1e-5) gamma + beta over the last axis."""
    x = np.asarray(x, dtype=np.float64)
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * w.gamma + w.beta)


def hadamard(size: int) -> Float64:
    """Sylvester's matrix: H[i][j] = (-1)^popcount(i & j)."""
    index = np.arange(size)
    return np.asarray(1.0 - 2.0 * (np.bitwise_count(index[:, None] & index[None, :]) & 1))


def project(x1: Any, w: LookupWeights) -> Float64:
    """Z [B, M] of normalised inputs [B, d]."""
    x1 = np.asarray(x1, dtype=np.float64)
    if w.dense is not None:
        return np.asarray(x1 @ w.dense.astype(np.float64).T + w.projection_bias)
    assert w.blocks is not None
    padded = np.zeros((x1.shape[0], w.padded))
    padded[:, : w.hidden] = x1
    transform = hadamard(w.padded)
    outputs = []
    for repeat in w.blocks.astype(np.float64):
        y = padded
        for stage in repeat:
            count, size, _ = stage.shape
            y = np.einsum("noi,bni->bno", stage, y.reshape(-1, count, size)).reshape(y.shape) @ transform
        outputs.append(0.7 * y + 0.3 * padded)
    return np.asarray(np.concatenate(outputs, axis=1)[:, : w.outputs] + w.projection_bias)


def codes(z: Any, w: LookupWeights) -> NDArray[np.int64]:
    """[B, T]: bit tau-1-j is z_j > 0, the first coordinate the most significant."""
    bits = np.asarray(z).reshape(-1, w.table_count, w.code_bits) > 0.0
    return np.asarray(bits @ (1 << np.arange(w.code_bits - 1, -1, -1)))


def scores(z: Any, w: LookupWeights) -> Float64:
    """[B, T]: sum |z| / prod (1 + exp(-2 |z|))."""
    magnitude = np.abs(np.asarray(z, dtype=np.float64).reshape(-1, w.table_count, w.code_bits))
    return np.asarray(magnitude.sum(axis=-1) / (1.0 + np.exp(-2.0 * magnitude)).prod(axis=-1))


def gather(code: Any, score: Any, w: LookupWeights) -> Float64:
    """sum_t score[b, t] table[t, code[b, t]] + bias."""
    total = np.zeros((len(code), w.columns)) + w.bias
    for t in range(w.table_count):
        total += np.asarray(score)[:, t, None] * w.tables[t].astype(np.float64)[np.asarray(code)[:, t]]
    return total


def forward(x: Any, w: LookupWeights) -> Float64:
    """The whole layer."""
    z = project(layer_norm(x, w), w)
    return gather(codes(z, w), scores(z, w), w)
