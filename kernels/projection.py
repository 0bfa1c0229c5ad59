"""The projection of a layer, BH4 or dense, packed as the kernels take it: one interface for both."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import library
from kernels.library import KernelError
from kernels.packing import Dtype, pack_bh4
from kernels.packing_dense import PANEL, pack_dense
from kernels.tables import aligned
from kernels.weights import MIX_INPUT, MIX_PROJECTED, LookupWeights

SMALLEST_BLOCK = 16


@dataclass(frozen=True)
class Projection:
    """A packed projection; the functions of its kernels are `<operator>_<dtype>` and `<operator>_<dtype>_scratch`.

    width: floats a row of normalised inputs, zero beyond d. outputs: floats of Z a token. order: output o of every len(order)
    is row order[o] of training's projection. planes: Z is in plane order. mixes: it reads its inputs again in the order of Z.
    `struct` points into `arrays`.
    """

    operator: str
    dtype: Dtype
    width: int
    outputs: int
    order: NDArray[np.int32]
    planes: bool
    mixes: bool
    struct: ctypes.Structure
    arrays: tuple[NDArray[Any] | None, ...]

    @property
    def symbol(self) -> str:
        """Name of the C function."""
        return f"{self.operator}_{self.dtype}"

    def natural(self, z: NDArray[np.float32], outputs: int) -> NDArray[np.float32]:
        """The first `outputs` columns of Z, in training's order."""
        inverse = np.argsort(self.order)
        ordered = z.reshape(len(z), -1, len(inverse))[:, :, inverse].reshape(len(z), -1)
        return np.ascontiguousarray(ordered[:, :outputs])


def pack_projection(w: LookupWeights, dtype: Dtype) -> Projection:
    """Packs whichever projection `w` has. Raises KernelError where no kernel takes it."""
    return _dense(w, dtype) if w.dense is not None else _bh4(w, dtype)


def _bh4(w: LookupWeights, dtype: Dtype) -> Projection:
    assert w.blocks is not None
    if w.blocks.shape[-1] < SMALLEST_BLOCK:
        raise KernelError(
            f"blocks: the kernels take blocks of {SMALLEST_BLOCK} to {w.padded}, got {w.blocks.shape[-1]}"
        )
    p = pack_bh4(w, dtype)
    arrays = (aligned(p.weights), p.scales, p.bias, p.order, p.correction)
    weights, scales, bias, order, correction = (_address(a) for a in arrays)
    struct = library.Bh4(
        padded=w.padded, repeats=w.repeats, stages=w.blocks.shape[1], block=w.blocks.shape[3], weights=weights, scales=scales,
        bias=bias, order=order, mix_projected=MIX_PROJECTED, mix_input=MIX_INPUT, limit=p.limit, correction=correction,
    )  # fmt: skip
    outputs = w.repeats * w.padded
    return Projection("bh4", dtype, w.padded, outputs, p.order, p.planes, True, struct, arrays)


def _dense(w: LookupWeights, dtype: Dtype) -> Projection:
    p = pack_dense(w, dtype)
    arrays = (aligned(p.weights), p.scales, p.bias, p.correction)
    weights, scales, bias, correction = (_address(a) for a in arrays)
    struct = library.Dense(
        width=p.width, depth=p.depth, outputs=p.outputs, chunk=p.chunk, weights=weights, scales=scales, bias=bias,
        limit=p.limit, correction=correction,
    )  # fmt: skip
    assert len(p.order) == PANEL
    return Projection("dense", dtype, p.width, p.outputs, p.order, p.planes, False, struct, arrays)


def _address(array: NDArray[Any] | None) -> int | None:
    return None if array is None else array.ctypes.data
