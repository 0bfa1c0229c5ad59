"""The GEMM FFN through oneDNN and OpenBLAS against float64: dtypes, odd shapes, tiles and their remainders, threads, faults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.build import BuildError
from kernels.gemm import GemmFfn, gemm_exact, random_gemm_weights
from kernels.gemmlibrary import load_library
from kernels.library import KernelError
from kernels.timing import usable_cpus
from kernels.weights import ShapeError

TOLERANCE = {"fp32": 2e-6, "bf16": 1e-2, "int8": 5e-2}
"""Frobenius, relative."""

KINDS = (("onednn", "fp32"), ("onednn", "bf16"), ("onednn", "int8"), ("openblas", "fp32"))


def make(weights: Any, library: Any, dtype: Any, **options: Any) -> GemmFfn:
    """The layer, or a skip where the library is missing."""
    try:
        load_library(library)
    except (BuildError, KernelError) as error:
        pytest.skip(str(error))
    return GemmFfn(weights, library=library, dtype=dtype, **options)


def error(found: Any, exact: Any) -> float:
    """Relative distance of all outputs together."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize(("library", "dtype"), KINDS)
@pytest.mark.parametrize(("hidden", "intermediate"), [(512, 2048), (100, 300), (48, 17)])
def test_the_layer_against_float64(library: str, dtype: str, hidden: int, intermediate: int) -> None:
    weights = random_gemm_weights(hidden, intermediate, seed=3)
    ffn = make(weights, library, dtype, token_tile=32)
    for batch in (1, 3, 32, 65):
        x = np.random.default_rng(batch).standard_normal((batch, hidden)).astype(np.float32)
        found = ffn(x)
        assert error(found, gemm_exact(x, weights)) <= TOLERANCE[dtype]
        if dtype != "fp32":
            assert error(found, gemm_exact(x, weights)) > 1e-5, "a narrow type that rounds nothing was not used"


@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_threads_give_the_same_layer(library: str, dtype: str) -> None:
    weights = random_gemm_weights(128, 256)
    x = np.random.default_rng(1).standard_normal((70, 128)).astype(np.float32)
    one = make(weights, library, dtype)(x)
    for threads in range(2, 1 + len(usable_cpus())):
        assert error(make(weights, library, dtype, threads=threads)(x), one) <= TOLERANCE[dtype]


def test_large_hidden_activations_saturate_and_do_not_wrap() -> None:
    weights = random_gemm_weights(64, 64)
    ffn = make(weights, "onednn", "int8")
    x = np.zeros((2, 64), dtype=np.float32)
    x[0, 0], x[1, :32] = 1e4, 3.0
    assert error(ffn(x), gemm_exact(x, weights)) <= 0.5


def test_faults_are_named() -> None:
    weights = random_gemm_weights(64, 64)
    ffn = make(weights, "onednn", "fp32")
    with pytest.raises(ShapeError, match=r"x: must be a float32 array of shape \[B, 64\]"):
        ffn(np.zeros((2, 63), dtype=np.float32))
    with pytest.raises(ShapeError, match=r"out: must be a contiguous, writeable float32 array of shape \(2, 64\)"):
        ffn(np.zeros((2, 64), dtype=np.float32), np.zeros((2, 64)))
    with pytest.raises(KernelError, match="OpenBLAS multiplies fp32 only, got bf16"):
        GemmFfn(weights, library="openblas", dtype="bf16")
    with pytest.raises(KernelError, match=r"threads: between 1 and \d+ on this host, got 4096"):
        GemmFfn(weights, threads=4096)
    assert ffn(np.zeros((0, 64), dtype=np.float32)).shape == (0, 64)
