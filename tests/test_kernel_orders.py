"""Results of the vector kernels do not depend on what else is computed beside them: tokens alone or in a tile, layouts of Z."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from kernels import library
from kernels.lookup import LookupFfn
from kernels.tables import aligned
from kernels.weights import random_weights
from tests.test_lookup_kernels import KINDS, inputs, make, needs_kernels

SHAPES = {
    "8 blocks": {"hidden": 512, "tables": 128},
    "4 blocks, zero-padded": {"hidden": 200, "tables": 24},
    "2 blocks of 128": {"hidden": 256, "tables": 40, "block": 128},
    "16 blocks": {"hidden": 1024, "tables": 128},
    "blocks of 32": {"hidden": 128, "tables": 24, "block": 32},
    "one stage": {"hidden": 512, "tables": 70, "stages": 1},
}
COUNTS = (1, 2, 3, 5, 23, 24, 25, 26, 36, 49)
"""Tokens of a call, around fours, sixes and groups of twelve."""


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("projection", ["fp32", "bf16", "int16", "int8"])
def test_a_token_is_projected_alike_in_any_company(shape: str, projection: str) -> None:
    weights = random_weights(columns=64, rows=256, **SHAPES[shape])  # type: ignore[arg-type]
    ffn = make(weights, projection, "fp32")
    x = inputs(max(COUNTS), weights.hidden)
    x[7] *= 1e-3
    x[11] = 0.0
    whole = ffn.project(x)
    for count in COUNTS:
        np.testing.assert_array_equal(ffn.project(x[:count]), whole[:count], err_msg=f"{count} tokens")


@needs_kernels
@pytest.mark.parametrize(("projection", "table"), KINDS)
def test_a_token_that_is_not_finite_stays_alone_in_a_full_tile(projection: str, table: str) -> None:
    ffn = make(random_weights(512, 64, 128, 256), projection, table)
    x = inputs(48, 512)
    clean = ffn.project(x)
    x[4, 7], x[29, 0] = np.nan, np.inf
    spoiled = ffn.project(x)
    assert np.isnan(spoiled[[4, 29]]).all()
    others = [i for i in range(48) if i not in (4, 29)]
    np.testing.assert_array_equal(spoiled[others], clean[others])


def in_planes(z: Any) -> Any:
    """Z [B, 1024] of codes of 8 bits in plane order: eight planes of eight tables in every 64."""
    return np.ascontiguousarray(z.reshape(len(z), -1, 8, 8).swapaxes(2, 3)).reshape(len(z), -1)


def extremes() -> Any:
    """Tokens of random coordinates, most of them with one that is special."""
    z = np.random.default_rng(3).standard_normal((40, 1024)).astype(np.float32)
    special = (0.0, -0.0, 1e-45, -1e-45, 1e-40, 100.0, -100.0, 3e38, np.inf, -np.inf, np.nan, -np.nan, 40.0, 39.99)
    for i, value in enumerate(special):
        z[i, 7 * i], z[i, 1023 - i] = value, value
    z[30] = 0.0
    z[31] *= 30.0
    return z


@needs_kernels
@pytest.mark.parametrize("tables", [128, 123])
def test_codes_and_scores_are_alike_in_both_layouts(tables: int) -> None:
    ffn: LookupFfn = make(random_weights(512, 64, tables, 256), "fp32", "fp32")
    z = extremes()
    codes, scores = ffn.codes_and_scores(np.ascontiguousarray(z[:, : 8 * tables]))
    call, plane_codes, plane_scores = ffn.code_score_call(in_planes(z), planes=True)
    call()
    np.testing.assert_array_equal(plane_codes[:, :tables], codes)
    np.testing.assert_array_equal(plane_scores[:, :tables], scores)
    assert not plane_codes[:, tables:].any()
    positive = np.nan_to_num(z[:, : 8 * tables], nan=-1.0).reshape(len(z), tables, 8) > 0
    np.testing.assert_array_equal(codes, positive @ (1 << np.arange(7, -1, -1)))


@needs_kernels
def test_the_block_products_run_alone() -> None:
    """`bh4_<dtype>_blocks`, there for measuring: what the last group of a tile of ones leaves are sums of the last weights."""
    ffn = make(random_weights(512, 64, 128, 256), "fp32", "fp32")
    try:
        blocks = library.function("bh4", "bh4_fp32_blocks")
    except library.KernelError as error:
        pytest.skip(str(error))
    struct, tokens = ffn._projection.struct, 48
    weights = np.ctypeslib.as_array(ctypes.cast(struct.weights, ctypes.POINTER(ctypes.c_float)), (2, 4, 8, 64, 64))
    size = ffn._functions["project_scratch"](ctypes.byref(struct), library.I64(tokens))
    scratch = aligned(np.ones(size // 4, dtype=np.float32))
    blocks(
        ctypes.byref(struct),
        None,
        None,
        library.I64(tokens),
        None,
        library.I64(0),
        ctypes.c_void_p(scratch.ctypes.data),
    )
    sums = scratch[2 * tokens * 512 :][: 12 * 2 * 512].reshape(12, 2, 512)[:, 1]
    np.testing.assert_allclose(sums, np.tile(weights[-1, -1].sum(axis=1).ravel(), (12, 1)), rtol=1e-4, atol=1e-5)
