"""A trained dense projection into what the kernels read: panels of 64 outputs, numbers quantised per output.

Rows of W stand in the order in which code+score wants Z. int16 sums of products must fit 32 bits whatever the activations are:
they run over CHUNK inputs and are then added in fp32, and weights and activations share what 31 bits leave for a product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.packing import PER_DWORD, PLANE_BITS, Dtype, activation_order, plane_order, to_bf16
from kernels.weights import LookupWeights

PANEL = 64
"""Outputs that the kernels make at a time; rows of activations are a multiple of it too."""

LINE_BYTES = 64
ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "int16": 2, "int8": 1}
CHUNK = 512
"""Inputs of one int16 sum: at most 512 products, so both sides keep at least 2048 steps (11 bits and a sign)."""

INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class PackedDense:
    """Arrays and sizes of `struct Dense` (include/lookup.hpp)."""

    dtype: Dtype
    width: int
    depth: int
    outputs: int
    chunk: int
    weights: NDArray[Any]
    scales: NDArray[np.float32] | None
    correction: NDArray[np.float32] | None
    bias: NDArray[np.float32]
    order: NDArray[np.int32]
    planes: bool
    limit: int


def pack_dense(w: LookupWeights, dtype: Dtype = "fp32") -> PackedDense:
    """Pads, permutes, quantises and transposes the matrix of `w`."""
    assert w.dense is not None
    outputs, width = _up(w.outputs, PANEL), _up(w.hidden, PANEL)
    depth = _up(w.hidden, LINE_BYTES // ELEMENT_BYTES[dtype])
    planes = w.code_bits == PLANE_BITS
    order = plane_order(PANEL) if planes else np.arange(PANEL, dtype=np.int32)
    rows = (np.arange(outputs).reshape(-1, PANEL)[:, order]).reshape(-1)
    matrix, bias = np.zeros((outputs, width)), np.zeros(outputs, dtype=np.float32)
    matrix[: w.outputs, : w.hidden] = w.dense
    bias[: w.outputs] = w.projection_bias
    matrix, bias = matrix[rows][:, activation_order(dtype, width)[:depth]], bias[rows]
    chunk = min(CHUNK, _up(depth, PANEL)) if dtype == "int16" else _up(depth, PANEL)
    scales = correction = None
    limit = 0
    if dtype == "fp32":
        stored: NDArray[Any] = matrix.astype(np.float32)
    elif dtype == "bf16":
        stored = to_bf16(matrix.astype(np.float32))
    elif dtype == "int16":
        stored, scales, limit = _int16(matrix, chunk)
    else:
        stored, scales = _whole(matrix, 127)
        limit = 127
        correction = (128.0 * stored.sum(axis=1)).astype(np.float32)  # unsigned activations carry an offset of 128
        stored = stored.astype(np.int8)
    per = PER_DWORD[dtype]
    packed = stored.reshape(outputs // PANEL, PANEL, depth // per, per).swapaxes(1, 2)
    return PackedDense(
        dtype,
        width,
        depth,
        outputs,
        chunk,
        np.ascontiguousarray(packed),
        scales,
        correction,
        bias,
        order,
        planes,
        limit,
    )


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def _whole(matrix: NDArray[np.float64], top: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """(whole numbers up to `top`, what one of them stands for in each row)."""
    largest = np.abs(matrix).max(axis=1)
    step = np.where(largest > 0.0, largest / top, 1.0)
    return np.rint(matrix / step[:, None]), step.astype(np.float32)


def _int16(matrix: NDArray[np.float64], chunk: int) -> tuple[NDArray[np.int16], NDArray[np.float32], int]:
    """(weights, scales, limit of activations): the same number of steps for both, as many as the largest sum allows."""
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    relative = np.abs(matrix) / np.where(largest > 0.0, largest, 1.0)
    top = int(min(32767.0, math.sqrt(INT32_MAX / max(1.0, _largest_sum(relative, chunk)))))
    whole, scales = _whole(matrix, top)
    limit = int(min(32767, INT32_MAX // max(1.0, _largest_sum(np.abs(whole), chunk))))
    return whole.astype(np.int16), scales, limit


def _largest_sum(magnitudes: NDArray[np.float64], chunk: int) -> float:
    starts = np.arange(0, magnitudes.shape[1], chunk)
    return float(np.add.reduceat(magnitudes, starts, axis=1).max())
