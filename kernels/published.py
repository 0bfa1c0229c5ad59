"""The loop structure of LookupFFN's published CPU kernels as a callable, to compare with: fp32, blocks of 64.

    ffn = PublishedFfn.from_weights(weights, threads=2)
    y = ffn(x)

Same results as `LookupFfn` in fp32; include/published.hpp says what its loops keep of the original and what not.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import library
from kernels.library import F32, I64, POINTER, KernelError
from kernels.tables import aligned
from kernels.weights import EPSILON, MIX_INPUT, MIX_PROJECTED, Float32, LookupWeights, ShapeError

BLOCK = 64


class Published(ctypes.Structure):
    """`struct Published` of include/published.hpp."""

    _fields_ = (
        *((n, I64) for n in ("hidden", "padded", "repeats", "stages", "outputs", "tables", "bits", "rows", "columns")),
        *((n, F32) for n in ("epsilon", "mix_projected", "mix_input")),
        *((n, POINTER) for n in ("gamma", "beta", "projection_bias", "bias", "weights", "data", "layer_norm")),
    )


class PublishedFfn:
    """One layer in fp32 by the published loops; make it with `from_weights`. Takes BH4 with blocks of 64. Raises KernelError."""

    def __init__(self, weights: LookupWeights, *, threads: int = 1, isa: str | None = None) -> None:
        if weights.blocks is None or weights.blocks.shape[-1] != BLOCK:
            raise KernelError(f"the published loops take BH4 projections with blocks of {BLOCK}")
        if threads < 1:
            raise KernelError(f"threads: at least 1, got {threads}")
        self.weights, self.threads = weights, threads
        self._run = library.function("published", "published_ffn", isa)
        self._run.restype = None
        layer_norm = library.function("layer_norm", "layer_norm", isa)
        by_input = np.swapaxes(weights.blocks, -1, -2) * np.float32(weights.padded)  # a power of two: exact
        self._arrays = {
            "gamma": weights.gamma,
            "beta": weights.beta,
            "projection_bias": weights.projection_bias,
            "bias": weights.bias,
            "weights": aligned(by_input),
            "data": aligned(weights.tables),
        }
        self._layer = Published(
            hidden=weights.hidden,
            padded=weights.padded,
            repeats=weights.repeats,
            stages=weights.blocks.shape[1],
            outputs=weights.outputs,
            tables=weights.table_count,
            bits=weights.code_bits,
            rows=weights.rows,
            columns=weights.columns,
            epsilon=EPSILON,
            mix_projected=MIX_PROJECTED,
            mix_input=MIX_INPUT,
            layer_norm=library.address(layer_norm),
            **{name: array.ctypes.data for name, array in self._arrays.items()},
        )

    @classmethod
    def from_weights(cls, weights: LookupWeights, *, threads: int = 1, isa: str | None = None) -> PublishedFfn:
        """Packs weights (`weights.lookup_weights`) for the published loops."""
        return cls(weights, threads=threads, isa=isa)

    def __call__(self, x: Float32, out: Float32 | None = None) -> Float32:
        """y [B, dout] of x [B, d], float32 with contiguous rows. Raises ShapeError."""
        w = self.weights
        if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != w.hidden:
            raise ShapeError(f"x: must be a float32 array of shape [B, {w.hidden}]")
        x = x if x.strides[1] == 4 and x.strides[0] > 0 and x.strides[0] % 4 == 0 else np.ascontiguousarray(x)
        shape = (len(x), w.columns)
        y = np.empty(shape, dtype=np.float32) if out is None else out
        if y.shape != shape or y.dtype != np.float32 or not y.flags.c_contiguous or not y.flags.writeable:
            raise ShapeError(f"out: must be a contiguous float32 array of shape {shape}")
        if y.size:
            self.prepare(x, y)()
        return y

    def prepare(self, x: Float32, y: Float32) -> Callable[[], None]:
        """A call without arguments that writes the layer of x [B, d] to y [B, dout]; both must stay where they are."""
        run = functools.partial(
            self._run, ctypes.byref(self._layer), POINTER(x.ctypes.data), I64(x.strides[0] // 4), I64(len(x)),
            POINTER(y.ctypes.data), I64(y.strides[0] // 4), I64(self.threads),
        )  # fmt: skip

        def call(_keep: Any = (self, x, y)) -> None:
            run()

        return call
