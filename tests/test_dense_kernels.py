"""The compiled dense projection against the float64 oracle: odd sizes, sums near 32 bits, tokens not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.lookup import LookupFfn, Plan
from kernels.packing_dense import CHUNK, pack_dense
from kernels.weights import LookupWeights, lookup_weights, random_weights
from tests import oracle
from tests.test_lookup_kernels import ISAS, KINDS, Z_TOLERANCE, hold_to_the_oracle, inputs, make, needs_kernels

SHAPES = {
    "published": {"hidden": 512, "columns": 512, "tables": 128, "rows": 256},
    "d no multiple of 64, outputs in planes": {"hidden": 500, "columns": 500, "tables": 33, "rows": 256},
    "d of one and a half panels": {"hidden": 96, "columns": 100, "tables": 120, "rows": 2},
    "d odd": {"hidden": 33, "columns": 70, "tables": 37, "rows": 8},
    "one input": {"hidden": 1, "columns": 5, "tables": 3, "rows": 4},
    "several chunks of int16": {"hidden": 1300, "columns": 64, "tables": 9, "rows": 4096},
}


def normal(shape: tuple[int, ...], seed: int) -> Any:
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer(dense: Any) -> LookupWeights:
    """A layer with this projection [M, d], M = 8 T, and nothing else of interest."""
    return lookup_weights(tables=np.zeros((len(dense) // 8, 256, 1)), dense=dense)


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("projection", "table"), KINDS)
@pytest.mark.parametrize("isa", ISAS)
def test_every_stage_against_the_oracle(shape: str, projection: str, table: str, isa: str) -> None:
    weights = random_weights(**SHAPES[shape], projection="dense")  # type: ignore[arg-type]
    if shape == "one input":
        weights = lookup_weights(  # LayerNorm of one input is beta: a bias may not hide what the product does
            tables=weights.tables, dense=weights.dense, beta=[1.5]
        )
    hold_to_the_oracle(make(weights, projection, table, isa=isa))


@needs_kernels
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("projection", ["fp32", "bf16", "int16", "int8"])
def test_the_largest_d(projection: Any, isa: str) -> None:
    ffn = make(random_weights(4096, 1, 16, 256, projection="dense"), projection, "fp32", isa=isa)
    x = inputs(7, 4096)
    exact = oracle.project(oracle.layer_norm(x, ffn.weights), ffn.weights)
    assert (np.abs(ffn.project(x) - exact) <= Z_TOLERANCE[projection] * np.abs(exact).max(axis=1, keepdims=True)).all()


@needs_kernels
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("hidden", [64, 512, 1024, 4096])
def test_no_sum_of_products_leaves_32_bits(hidden: int, isa: str) -> None:
    """Every product has the same sign and the largest magnitude that its kind has."""
    sign = np.where(np.random.default_rng(0).random(hidden) < 0.5, -1.0, 1.0).astype(np.float32)
    weights = layer(np.stack([sign, -sign] * 32))
    x = sign[None] * np.linspace(0.5, 2.0, 9, dtype=np.float32)[:, None]
    for projection in ("int16", "int8"):
        ffn = make(weights, projection, "fp32", isa=isa)
        exact = oracle.project(oracle.layer_norm(x, weights), weights)
        np.testing.assert_allclose(ffn.project(x), exact, rtol=Z_TOLERANCE[projection])


@pytest.mark.parametrize("kind", ["normal", "equal magnitudes", "one large weight a row"])
@pytest.mark.parametrize("hidden", [1, 33, 512, 4096])
def test_int16_sums_fit_whatever_the_activations_and_both_sides_keep_precision(kind: str, hidden: int) -> None:
    dense = normal((64, hidden), 3)
    if kind == "equal magnitudes":
        dense = np.sign(dense)
    elif kind == "one large weight a row":
        dense[:, 0] = 1000.0
    packed = pack_dense(layer(dense), "int16")
    sums = np.abs(packed.weights.astype(np.int64)).sum(axis=3)  # [panel, step, output]
    steps = packed.chunk // 2
    largest = max(sums[:, k : k + steps].sum(axis=1).max() for k in range(0, sums.shape[1], steps))
    assert largest * packed.limit < 2**31
    assert packed.chunk <= CHUNK
    assert min(packed.limit, np.abs(packed.weights).max()) >= 2047


@needs_kernels
@pytest.mark.parametrize(("projection", "table"), KINDS)
@pytest.mark.parametrize("isa", ISAS)
def test_a_token_that_is_not_finite_stays_alone(projection: str, table: str, isa: str) -> None:
    ffn = make(random_weights(100, 64, 12, 16, projection="dense"), projection, table, isa=isa)
    x = inputs(13, 100)
    clean = ffn(x)
    x[4, 7], x[9, 0], x[12, 99] = np.nan, np.inf, -np.inf
    spoiled = ffn(x)
    assert np.isnan(spoiled[[4, 9, 12]]).all()
    others = [i for i in range(13) if i not in (4, 9, 12)]
    assert (spoiled[others] == clean[others]).all()
    assert np.isfinite(ffn(np.zeros((1, 100), dtype=np.float32))).all()


@needs_kernels
@pytest.mark.parametrize(("projection", "table"), KINDS)
def test_threads_and_tiles_leave_every_bit(projection: str, table: str) -> None:
    weights = random_weights(700, 192, 24, 256, projection="dense")
    x = inputs(301, 700)
    first = make(weights, projection, table)(x)
    for threads in (2, 3, 5):
        for _ in range(3):
            assert (make(weights, projection, table, threads=threads)(x) == first).all()
    ffn: LookupFfn = make(weights, projection, table)
    tile = 48
    for plan in (Plan(tile, tile, 24, 0), Plan(tile, 4096, 24, 3, 2), Plan(tile, 1, 24, 1, 1)):
        assert np.abs(ffn(x, plan=plan) - first).max() <= 1e-5 * np.abs(first).max()
