"""Loop nests V1 to V5 of the gather: right, and the same bits on any number of threads; scales of int8 rows."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from kernels.library import KernelError
from kernels.lookup import LookupFfn
from kernels.plan import (
    PROJECT_TILE,
    SPLIT_COLUMNS,
    SPLIT_TABLES,
    SPLIT_TOKENS,
    VARIANTS,
    default_plan,
    project_tile,
    variant_plan,
)
from kernels.tables import pack_tables
from kernels.weights import LookupWeights, lookup_weights, random_weights
from tests import oracle
from tests.test_lookup_kernels import SUM_TOLERANCE, inputs, make, needs_kernels

SHAPES = {
    "published": {"hidden": 512, "columns": 512, "tables": 128, "rows": 256},
    "tables no multiple of 16, two repeats": {"hidden": 64, "columns": 70, "tables": 33, "rows": 16, "block": 32},
    "two rows, one stripe in part": {"hidden": 100, "columns": 300, "tables": 70, "rows": 2, "block": 16},
    "4096 rows, fewer tables than shards": {"hidden": 64, "columns": 192, "tables": 5, "rows": 4096},
}
KINDS = (("fp32", "fp32"), ("bf16", "bf16"), ("int16", "int8"))
THREADS = (1, 2, 3, 5)


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("projection", "table"), KINDS)
def test_every_variant_is_right_and_the_same_on_any_number_of_threads(shape: str, projection: str, table: str) -> None:
    weights = random_weights(**SHAPES[shape])  # type: ignore[arg-type]
    layers = [make(weights, projection, table, threads=threads, stripe=64) for threads in THREADS]
    for batch in (1, 3, 65):
        x = inputs(batch, weights.hidden)
        codes, scores = layers[0].codes_and_scores(layers[0].project(x))
        exact = oracle.gather(codes, scores, weights)
        for variant in VARIANTS:
            plans = [variant_plan(variant, batch, layer._tables.tables, layer.threads) for layer in layers]
            first = layers[0](x, plan=plans[0])
            assert np.abs(first - exact).max() <= SUM_TOLERANCE[table] * np.abs(exact).max()
            for layer, plan in zip(layers, plans, strict=True):
                assert (layer(x, plan=plan) == first).all()
                assert (layer.gather(codes, scores, plan) == first).all()


@needs_kernels
@pytest.mark.parametrize("isa", ["scalar", "avx2"])
@pytest.mark.parametrize("table", ["fp32", "bf16", "int8"])
def test_columns_and_tables_over_threads_on_every_instruction_set(isa: str, table: str) -> None:
    weights = random_weights(64, 200, 21, 8)
    x = inputs(23, 64)
    for variant in ("v4", "v5"):
        results = []
        for threads in THREADS:
            layer = make(weights, "fp32", table, threads=threads, isa=isa, stripe=64)
            results.append(layer(x, plan=variant_plan(variant, 23, layer._tables.tables, threads)))
        exact = oracle.gather(*layer.codes_and_scores(layer.project(x)), weights)
        assert np.abs(results[0] - exact).max() <= SUM_TOLERANCE[table] * np.abs(exact).max()
        assert all((result == results[0]).all() for result in results)


@needs_kernels
def test_many_tiles_and_the_default_plans_keep_every_bit() -> None:
    weights = random_weights(128, 320, 40, 16)
    x = inputs(301, 128)
    first = make(weights, "int16", "int8")(x)
    for threads in THREADS:
        layer = make(weights, "int16", "int8", threads=threads)
        for split in (SPLIT_COLUMNS, SPLIT_TABLES):
            for tile in (1, 48, 96, 1000):
                plan = variant_plan("v4" if split == SPLIT_COLUMNS else "v5", 301, 40, threads)
                plan = type(plan)(plan.project_tile, tile, 8, 1, 2, split)
                alone = layer.gather(*layer.codes_and_scores(layer.project(x)), plan)
                assert (layer(x, plan=plan) == alone).all()
                if split == SPLIT_COLUMNS:
                    assert (alone == first).all()
    for batch in (1, 2, 8, 65, 200):
        one = make(weights, "int16", "int8")(x[:batch])
        np.testing.assert_allclose(make(weights, "int16", "int8", threads=2)(x[:batch]), one, rtol=0, atol=1e-5)


def test_blocks_of_the_projection_are_even_and_hold_whole_sixes() -> None:
    assert [project_tile(batch, 1) for batch in (1, 6, 7, 48, 49, 96, 4096)] == [6, 6, 12, 48, 30, 48, 48]
    assert [project_tile(batch, 2) for batch in (64, 96, 100, 4096)] == [36, 48, 30, 48]
    for batch in range(1, 300):
        for threads in (1, 2, 3):
            tile = default_plan(batch, 128, threads).project_tile
            assert tile % 6 == 0
            assert 0 < tile <= PROJECT_TILE


def test_the_plan_follows_batch_threads_and_stripes() -> None:
    assert default_plan(8, 128).split == SPLIT_TOKENS
    assert default_plan(8, 128, threads=2, stripes=4).split == SPLIT_COLUMNS
    assert default_plan(8, 128, threads=8, stripes=4).split == SPLIT_TABLES
    assert default_plan(512, 128, threads=2).split == SPLIT_TOKENS
    assert default_plan(512, 128, table_bytes=1 << 15).table_group == 16
    assert default_plan(512, 128, table_bytes=1 << 18).table_group == 4
    assert default_plan(512, 3).table_group == 3
    with pytest.raises(ValueError, match="variant: one of v1, v2, v3, v4, v5, got 'v6'"):
        variant_plan("v6", 8, 128)


@needs_kernels
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_index_out_of_range_is_refused_on_threads(variant: str, threads: int) -> None:
    weights = random_weights(64, 256, 20, 16)
    for table in ("fp32", "bf16", "int8"):
        ffn = make(weights, "fp32", table, threads=threads, stripe=64)
        codes, scores = np.zeros((40, 20), dtype=np.uint16), np.ones((40, 20), dtype=np.float32)
        plan = variant_plan(variant, 40, 20, threads)
        call, _ = ffn.gather_call(codes, scores, plan)
        assert call() == -1
        codes[37, 3] = codes[31, 11] = 16
        assert call() == 31 * 20 + 11
        codes[2, 19] = 65535
        assert call() == 2 * 20 + 19
        with pytest.raises(IndexError, match=r"codes\[2, 19\] is 65535, but the tables have 16 rows"):
            ffn.gather(codes, scores, plan)


def uneven(rows: int = 64) -> LookupWeights:
    """Tables whose rows differ in magnitude by a factor of 100, and the layer's other weights."""
    weights = random_weights(64, 128, 16, rows)
    factor = np.where(np.arange(rows) % 2, 1.0, 0.01).astype(np.float32)
    return lookup_weights(
        tables=weights.tables * factor[:, None], blocks=weights.blocks, gamma=weights.gamma, beta=weights.beta
    )


def error(layer: LookupFfn, codes: Any, scores: Any, weights: LookupWeights) -> float:
    """Relative error of the sums, Frobenius."""
    exact = oracle.gather(codes, scores, weights)
    return float(np.linalg.norm(layer.gather(codes, scores) - exact) / np.linalg.norm(exact))


@needs_kernels
@pytest.mark.parametrize("isa", ["scalar", "avx2", "amx"])
def test_scales_of_rows_are_better_where_rows_differ(isa: str) -> None:
    weights = uneven()
    draw = np.random.default_rng(3)
    scores = draw.random((50, 16)).astype(np.float32)
    small = 2 * draw.integers(0, 32, (50, 16)).astype(np.uint16)  # rows of the smaller magnitude
    found = {
        scales: error(make(weights, "fp32", "int8", isa=isa, table_scales=scales), small, scores, weights)
        for scales in ("table", 32, 2, "row")
    }
    assert found["row"] < 0.1 * found["table"]
    assert found["row"] < 0.1 * found[2]  # every pair of rows holds a large one
    assert found["row"] <= 1.5e-2
    mixed = draw.integers(0, 64, (50, 16)).astype(np.uint16)
    by_row, by_table = (
        error(make(weights, "fp32", "int8", isa=isa, table_scales=s), mixed, scores, weights) for s in ("row", "table")
    )
    assert by_row < by_table <= 1.5e-2


@needs_kernels
@pytest.mark.parametrize("scales", ["row", 1, 4, 16])
@pytest.mark.parametrize("isa", ["scalar", "avx2", "amx"])
def test_scales_of_groups_against_the_oracle(scales: Any, isa: str) -> None:
    weights = random_weights(64, 150, 9, 16)
    x = inputs(65, 64)
    for threads, variant in ((1, "v3"), (2, "v4"), (3, "v5")):
        layer = make(weights, "int16", "int8", isa=isa, threads=threads, table_scales=scales)
        codes, scores = layer.codes_and_scores(layer.project(x))
        exact = oracle.gather(codes, scores, weights)
        result = layer(x, plan=variant_plan(variant, 65, 12, threads))
        assert np.abs(result - exact).max() <= SUM_TOLERANCE["int8"] * np.abs(exact).max()


def test_scales_have_a_shape_and_bad_ones_are_named() -> None:
    tables = np.arange(6 * 8 * 64, dtype=np.float32).reshape(6, 8, 64)
    bias = np.zeros(64, dtype=np.float32)
    for scales, rows, shape in (("table", 8, (8, 1)), ("row", 1, (8, 8)), (4, 4, (8, 2))):
        packed = pack_tables(tables, bias, "int8", 64, table_scales=scales)  # type: ignore[arg-type]
        assert packed.scales is not None
        assert (packed.scale_group, packed.scales.shape) == (rows, shape)
    for wrong in (0, 3, 16, "column", True, 2.0):
        with pytest.raises(ValueError, match=r'table_scales: "table", "row" or a power of two up to the 8 rows'):
            pack_tables(tables, bias, "int8", 64, table_scales=wrong)  # type: ignore[arg-type]


@needs_kernels
def test_only_int8_tables_have_scales() -> None:
    with pytest.raises(KernelError, match="only int8 tables have scales, these are bf16"):
        LookupFfn(random_weights(64, 64, 4, 16), table="bf16", table_scales="row")


@needs_kernels
def test_a_prepared_call_keeps_its_layer() -> None:
    x = inputs(3, 64)
    y, again = (np.empty((3, 512), dtype=np.float32) for _ in range(2))
    weights = random_weights(64, 512, 64, 256)
    layer = make(weights, "fp32", "fp32")
    alive = weakref.ref(layer)
    call = layer.prepare(x, y)
    del layer  # nobody else refers to it
    gc.collect()
    assert alive() is not None
    call()
    make(weights, "fp32", "fp32").prepare(x, again)()
    assert (y == again).all()


@needs_kernels
def test_workers_get_cpus_of_their_own_though_the_caller_is_pinned() -> None:
    script = """
import os
import numpy as np
from kernels.measure import pinned
with pinned():
    from kernels.lookup import LookupFfn
    from kernels.weights import random_weights
    LookupFfn(random_weights(64, 64, 4, 16), threads=2)(np.zeros((2, 64), dtype=np.float32))
    masks = [os.sched_getaffinity(int(thread)) for thread in os.listdir('/proc/self/task')]
print(sum(mask == {sorted(os.sched_getaffinity(0))[1]} for mask in masks))
"""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU")
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, env=environment)
    assert (done.stdout, done.stderr) == ("1\n", "")
