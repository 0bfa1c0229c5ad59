"""A GEMM FFN as a callable on NumPy arrays, run by a real library: the opponent that look-up is measured against.

y = W2 gelu(W1 LayerNorm(x) + b1) + b2, exact (erf) GELU, residual left out as in `LookupFfn`.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kernels import library
from kernels.gemmlibrary import GemmLibrary, Library, load_library, openblas_functions
from kernels.library import F32, I64, POINTER, KernelError
from kernels.prepared import Prepared
from kernels.timing import usable_cpus
from kernels.weights import EPSILON, MAX_HIDDEN, Float32, ShapeError

GemmDtype = Literal["fp32", "bf16", "int8"]
GEMM_DTYPES: tuple[GemmDtype, ...] = ("fp32", "bf16", "int8")
TOKEN_TILE = 512
"""Tokens a pass: hidden activations of a tile stay in the caches."""


@dataclass(frozen=True)
class GemmWeights:
    """One dense FFN. gamma, beta: [d]; w1: [h, d]; b1: [h]; w2: [d, h]; b2: [d]; all float32 and contiguous."""

    gamma: Float32
    beta: Float32
    w1: Float32
    b1: Float32
    w2: Float32
    b2: Float32

    @property
    def hidden(self) -> int:
        """Inputs and outputs d."""
        return int(self.w1.shape[1])

    @property
    def intermediate(self) -> int:
        """Hidden activations h."""
        return int(self.w1.shape[0])


def random_gemm_weights(hidden: int, intermediate: int, seed: int = 0) -> GemmWeights:
    """Matrices N(0, 1 / inputs), so that activations keep their size; LayerNorm near identity."""
    draw = np.random.default_rng(seed).standard_normal
    return GemmWeights(
        gamma=1.0 + 0.1 * draw(hidden, dtype=np.float32),
        beta=0.1 * draw(hidden, dtype=np.float32),
        w1=draw((intermediate, hidden), dtype=np.float32) / np.sqrt(hidden, dtype=np.float32),
        b1=0.1 * draw(intermediate, dtype=np.float32),
        w2=draw((hidden, intermediate), dtype=np.float32) / np.sqrt(intermediate, dtype=np.float32),
        b2=0.1 * draw(hidden, dtype=np.float32),
    )


class _Layer(ctypes.Structure):
    """`struct GemmLayer` of include/gemm.hpp."""

    _fields_ = (
        *((name, I64) for name in ("kind", "hidden", "intermediate", "tokens", "token_tile", "threads")),
        *((name, POINTER) for name in ("cpus", "layer_norm", "gamma", "beta", "w1", "b1", "w2", "b2")),
        ("epsilon", F32),
        ("intermediate_scale", F32),
    )


class GemmFfn:
    """One dense FFN through `library` ('onednn': fp32, bf16, int8; 'openblas': fp32). Raises KernelError.

    cpus: where its threads go, one a thread; the CPUs of this process by default.
    int8: weights by output, inputs by tile, hidden activations by one scale that covers those of 64 standard normal tokens.
    """

    def __init__(
        self, weights: GemmWeights, *, library: Library = "onednn", dtype: GemmDtype = "fp32", threads: int = 1,
        token_tile: int = TOKEN_TILE,
        cpus: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        if dtype not in GEMM_DTYPES:
            raise KernelError(f"dtype: one of {', '.join(GEMM_DTYPES)}, got {dtype!r}")
        if library == "openblas" and dtype != "fp32":
            raise KernelError(f"OpenBLAS multiplies fp32 only, got {dtype}")
        self._cpus = usable_cpus() if cpus is None else tuple(cpus)
        if not 1 <= threads <= len(self._cpus):
            raise KernelError(f"threads: between 1 and {len(self._cpus)} on this host, got {threads}")
        if weights.hidden > MAX_HIDDEN:
            raise ShapeError(f"d must be at most {MAX_HIDDEN}, got {weights.hidden}")
        if token_tile < 1:
            raise KernelError(f"token_tile: at least 1, got {token_tile}")
        self.weights, self.dtype, self.threads, self.token_tile = weights, dtype, threads, token_tile
        self.library: GemmLibrary = load_library(library)
        self._prepared: dict[int, ctypes.c_void_p] = {}

    def __call__(self, x: Float32, out: Float32 | None = None) -> Float32:
        """y [B, d] of x [B, d], both float32 and contiguous. Raises ShapeError."""
        w = self.weights
        if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != w.hidden:
            raise ShapeError(f"x: must be a float32 array of shape [B, {w.hidden}]")
        x = np.ascontiguousarray(x)
        y = np.empty_like(x) if out is None else out
        if y.shape != x.shape or y.dtype != np.float32 or not y.flags.c_contiguous or not y.flags.writeable:
            raise ShapeError(f"out: must be a contiguous, writeable float32 array of shape {x.shape}")
        if x.size:
            self.prepare(x, y)()
        return y

    def prepare(self, x: Float32, y: Float32) -> Prepared:
        """A call without arguments that writes the layer of x [B, d] to y [B, d]; both must stay where they are."""
        layer, name = self._layer_for(len(x)), self.library.name

        def check(refused: int) -> None:
            if refused:
                raise KernelError(f"{name} refused a call that it had accepted before")

        return Prepared(self.library.handle.gemm_run, (layer.value, x.ctypes.data, y.ctypes.data), (x, y, self), check)

    def _layer_for(self, tokens: int) -> ctypes.c_void_p:
        """The library's own layer for that many tokens, packed at first use."""
        if tokens in self._prepared:
            return self._prepared[tokens]
        w, handle = self.weights, self.library.handle
        cpus = (I64 * self.threads)(*self._cpus[: self.threads])
        norm = library.function("layer_norm", "layer_norm")
        layer = _Layer(
            GEMM_DTYPES.index(self.dtype), w.hidden, w.intermediate, tokens, self.token_tile, self.threads,
            ctypes.addressof(cpus), library.address(norm),
            *(a.ctypes.data for a in (w.gamma, w.beta, w.w1, w.b1, w.w2, w.b2)), EPSILON, self._intermediate_scale,
        )  # fmt: skip
        message = ctypes.create_string_buffer(512)
        extra = (ctypes.byref(openblas_functions()),) if self.library.name == "openblas" else ()
        handle.gemm_make.restype = ctypes.c_void_p
        made = handle.gemm_make(ctypes.byref(layer), *extra, message, I64(len(message)))
        if not made:
            raise KernelError(f"{self.library.name} cannot make this layer: {message.value.decode(errors='replace')}")
        self._prepared[tokens] = ctypes.c_void_p(made)
        weakref.finalize(self, handle.gemm_free, ctypes.c_void_p(made))
        return self._prepared[tokens]

    @functools.cached_property
    def _intermediate_scale(self) -> float:
        if self.dtype != "int8":
            return 1.0
        x = np.random.default_rng(0).standard_normal((64, self.weights.hidden)).astype(np.float32)
        return float(np.abs(intermediate_exact(x, self.weights)).max() / 127.0)


def intermediate_exact(x: Any, w: GemmWeights) -> NDArray[np.float64]:
    """Hidden activations in float64."""
    from scipy.special import erf

    x = np.asarray(x, dtype=np.float64)
    centred = x - x.mean(axis=1, keepdims=True)
    normalised = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON) * w.gamma + w.beta
    inner = normalised @ w.w1.astype(np.float64).T + w.b1
    return np.asarray(0.5 * inner * (1.0 + erf(inner / np.sqrt(2.0))))


def gemm_exact(x: Any, w: GemmWeights) -> NDArray[np.float64]:
    """The whole layer in float64."""
    return np.asarray(intermediate_exact(x, w) @ w.w2.astype(np.float64).T + w.b2)
