"""The published loop structure gives the layer's results, on any number of threads and for any number of tokens."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from kernels import library
from kernels.library import KernelError
from kernels.published import PublishedFfn
from kernels.weights import ShapeError, random_weights
from tests import oracle
from tests.test_lookup_kernels import inputs, needs_kernels

SHAPES: dict[str, dict[str, Any]] = {
    "published": {"hidden": 512, "columns": 512, "tables": 128, "rows": 256},
    "padded, odd tables and columns": {"hidden": 500, "columns": 77, "tables": 33, "rows": 32},
    "one block, three stages": {"hidden": 64, "columns": 64, "tables": 9, "rows": 256, "stages": 3},
    "wide": {"hidden": 1024, "columns": 40, "tables": 4, "rows": 2},
}


def make(weights: Any, **options: Any) -> PublishedFfn:
    """The layer, or a skip where this CPU has no such instructions."""
    try:
        return PublishedFfn.from_weights(weights, **options)
    except KernelError as error:
        pytest.skip(str(error))


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_the_published_loops_against_the_oracle(shape: str, isa: str) -> None:
    weights = random_weights(**SHAPES[shape])
    for batch in (1, 3, 64, 130):
        x = inputs(batch, weights.hidden)
        z = oracle.project(oracle.layer_norm(x, weights), weights)
        clear = (np.abs(z) > 1e-5 * np.abs(z).max(axis=1, keepdims=True)).all(axis=1)  # no code hangs on rounding
        assert clear.mean() > 0.8
        exact = oracle.forward(x, weights)
        y = make(weights, isa=isa)(x)
        assert np.abs(y - exact)[clear].max() <= 1e-5 * np.abs(exact).max()
        for threads in (2, 3, 5):
            assert (make(weights, isa=isa, threads=threads)(x) == y).all()


@needs_kernels
@pytest.mark.parametrize("isa", ["avx2", "avx512"])
@pytest.mark.parametrize("tokens", [1, 5, 7, 10, 64])
def test_the_block_product_adds_to_its_destination(isa: str, tokens: int) -> None:
    try:
        gemm = library.function("published", "published_gemm", isa)
    except KernelError as error:
        pytest.skip(str(error))
    gemm.restype = None
    draw = np.random.default_rng(0)
    x, y = (draw.standard_normal((tokens, 128)).astype(np.float32) for _ in range(2))
    w = draw.standard_normal((64, 64)).astype(np.float32)
    wanted = y.astype(np.float64)
    wanted[:, :64] += x[:, :64].astype(np.float64) @ w
    pointers = (ctypes.c_void_p(a.ctypes.data) for a in (x, w, y))
    gemm(*pointers, ctypes.c_int64(tokens), ctypes.c_int64(128))
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-4)


@needs_kernels
def test_calls_take_views_and_name_what_is_wrong() -> None:
    weights = random_weights(64, 48, 4, 16)
    ffn = make(weights)
    x = inputs(6, 64)
    y = ffn(x)
    wide = np.zeros((6, 100), dtype=np.float32)
    wide[:, 10:74] = x
    assert (ffn(wide[:, 10:74]) == y).all()
    out = np.empty_like(y)
    assert ffn(x, out) is out
    assert ffn(x[:0]).shape == (0, 48)
    with pytest.raises(ShapeError, match=r"x: must be a float32 array of shape \[B, 64\]"):
        ffn(x[:, :60])
    with pytest.raises(ShapeError, match=r"out: must be a contiguous float32 array of shape \(6, 48\)"):
        ffn(x, y[:, :47])
    with pytest.raises(KernelError, match="blocks of 64"):
        PublishedFfn.from_weights(random_weights(64, 48, 4, 16, block=32))
