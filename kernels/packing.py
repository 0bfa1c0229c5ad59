"""Trained BH4 weights into what the kernels read: transforms folded in, blocks transposed, numbers quantised.

The transform over D elements is (H_count x I_size)(I_count x H_size): the second factor works inside blocks and is folded
into their weights, so that kernels only do the butterfly over the blocks. The 0.7 of the mix goes into the last stage. Rows
of the last stage stand in the order in which code+score wants Z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kernels.weights import MIX_INPUT, MIX_PROJECTED, LookupWeights

Dtype = Literal["fp32", "bf16", "int16", "int8"]
PER_DWORD = {"fp32": 1, "bf16": 2, "int16": 2, "int8": 4}
PLANE_BLOCK, PLANE_BITS = 64, 8


@dataclass(frozen=True)
class PackedBh4:
    """Arrays that `struct Bh4` (include/lookup.hpp) points at."""

    dtype: Dtype
    weights: NDArray[Any]
    scales: NDArray[np.float32] | None
    correction: NDArray[np.float32] | None
    bias: NDArray[np.float32]
    order: NDArray[np.int32]
    planes: bool
    limit: int


def hadamard(size: int) -> NDArray[np.float64]:
    """Sylvester's matrix of a power of two, unnormalised."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def plane_order(block: int) -> NDArray[np.int32]:
    """Output o of a block is row order[o]: eight planes of eight tables in every 64 outputs."""
    inner = np.arange(PLANE_BLOCK).reshape(8, 8).T.reshape(-1)
    return np.concatenate([base + inner for base in range(0, block, PLANE_BLOCK)]).astype(np.int32)


def to_bf16(values: NDArray[Any]) -> NDArray[np.uint16]:
    """The upper halves of fp32 numbers, rounded to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def activation_order(dtype: Dtype, size: int) -> NDArray[np.int64]:
    """Where the vector packs put activations: stored element k of a block is input order[k]."""
    index = np.arange(size)
    if dtype in ("fp32", "bf16"):
        return index
    span = 32 if dtype == "int16" else 64  # elements that one pack of 32-bit vectors makes
    if size % span:
        return index  # packed by truncation, which keeps the order
    lanes = index[:span].reshape(span // 16, 4, 4)  # [source vector][128-bit lane][element]
    return np.concatenate([base + lanes.transpose(1, 0, 2).reshape(-1) for base in range(0, size, span)])


def pack_bh4(w: LookupWeights, dtype: Dtype = "fp32") -> PackedBh4:
    """Folds, permutes, transposes and quantises the blocks of `w`."""
    assert w.blocks is not None
    repeats, stages, count, size, _ = w.blocks.shape
    planes = w.code_bits == PLANE_BITS and size % PLANE_BLOCK == 0
    order = plane_order(size) if planes else np.arange(size, dtype=np.int32)
    folded = hadamard(size) @ w.blocks.astype(np.float64)
    folded[:, -1] = MIX_PROJECTED * folded[:, -1][..., order, :]
    bias = np.zeros(repeats * w.padded, dtype=np.float32)
    bias[: w.outputs] = w.projection_bias
    bias = bias.reshape(-1, size)[:, order].reshape(-1)
    by_input = np.swapaxes(folded, -1, -2)[..., activation_order(dtype, size), :]  # [repeats, stages, count, k, o]
    per = PER_DWORD[dtype]
    scales = correction = None
    limit = 0
    if dtype == "fp32":
        stored: NDArray[Any] = by_input.astype(np.float32)
    elif dtype == "bf16":
        stored = to_bf16(by_input.astype(np.float32))
    else:
        top = 32767 if dtype == "int16" else 127
        largest = np.abs(folded).max(axis=(2, 3, 4))
        step = np.where(largest > 0.0, largest / top, 1.0)
        whole = np.rint(by_input / step[:, :, None, None, None])
        stored = whole.astype(np.int16 if dtype == "int16" else np.int8)
        scales = step.astype(np.float32)
        if dtype == "int16":  # sums of products must fit 32 bits whatever the activations are
            limit = int(min(32767, (2**31 - 1) // max(1.0, float(np.abs(whole).sum(axis=-2).max()))))
        else:
            limit = 127
            correction = (128.0 * whole.sum(axis=-2)).astype(np.float32)  # unsigned activations carry an offset of 128
    packed = stored.reshape(repeats, stages, count, size // per, per, size).swapaxes(-1, -2)
    return PackedBh4(dtype, np.ascontiguousarray(packed), scales, correction, bias, order, planes, limit)


MIX = (MIX_PROJECTED, MIX_INPUT)
