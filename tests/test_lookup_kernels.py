"""The compiled LookupFFN against the float64 oracle, stage by stage: Z within its tolerance, codes where z is clear of zero,
score and gather given the kernel's own codes."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from kernels import library
from kernels.build import BuildError, find_compiler
from kernels.library import KernelError
from kernels.lookup import LookupFfn, Plan
from kernels.weights import LookupWeights, ShapeError, lookup_weights, random_weights
from tests import oracle

Z_TOLERANCE = {"fp32": 1e-5, "bf16": 1e-2, "int16": 2e-3, "int8": 5e-2}
"""Of the token's largest |Z|."""

SUM_TOLERANCE = {"fp32": 1e-5, "bf16": 5e-3, "int8": 1.5e-2}
"""Of the largest |output|, given the kernel's own codes."""

SHAPES = {
    "published": {"hidden": 512, "columns": 512, "tables": 128, "rows": 256},
    "d no power of two": {"hidden": 500, "columns": 500, "tables": 33, "rows": 32, "block": 32},
    "blocks of 16": {"hidden": 96, "columns": 100, "tables": 120, "rows": 2, "block": 16},
    "blocks of 128": {"hidden": 768, "columns": 768, "tables": 20, "rows": 4096, "block": 128},
    "one block": {"hidden": 64, "columns": 64, "tables": 9, "rows": 256, "block": 64},
    "two stages": {"hidden": 128, "columns": 320, "tables": 17, "rows": 8, "stages": 2},
}
KINDS = (("fp32", "fp32"), ("bf16", "bf16"), ("int16", "int8"), ("int8", "int8"))


ISAS = ("scalar", "avx2", "amx")
"""Capped at the reference, at AVX2, and at whatever this CPU has."""


def missing() -> str:
    """Why no kernel runs here, or ''."""
    try:
        find_compiler()
    except BuildError as error:
        return str(error)
    return ""


needs_kernels = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def make(weights: LookupWeights, projection: Any, table: Any, **options: Any) -> LookupFfn:
    """The layer, or a skip where this CPU has no such instructions."""
    try:
        return LookupFfn(weights, projection=projection, table=table, **options)
    except KernelError as error:
        pytest.skip(str(error))


def inputs(batch: int, hidden: int, seed: int = 1) -> Any:
    """Standard normal tokens."""
    return np.random.default_rng(seed).standard_normal((batch, hidden)).astype(np.float32)


def hold_to_the_oracle(ffn: LookupFfn, batches: tuple[int, ...] = (1, 3, 65)) -> None:
    """Every stage within its tolerance, and the fused layer equal to its stages."""
    weights, projection, table = ffn.weights, ffn.projection, ffn.table
    for batch in batches:
        x = inputs(batch, weights.hidden)
        z, exact = ffn.project(x), oracle.project(oracle.layer_norm(x, weights), weights)
        allowed = Z_TOLERANCE[projection] * np.abs(exact).max(axis=1, keepdims=True)
        assert (np.abs(z - exact) <= allowed).all()
        codes, scores = ffn.codes_and_scores(z)
        assert (codes == oracle.codes(z, weights)).all()
        clear = (np.abs(exact) > allowed).reshape(batch, weights.table_count, -1).all(axis=-1)
        assert (codes == oracle.codes(exact, weights))[clear].all()
        np.testing.assert_allclose(scores, oracle.scores(z, weights), rtol=2e-6, atol=1e-7)
        summed, reference = ffn.gather(codes, scores), oracle.gather(codes, scores, weights)
        assert np.abs(summed - reference).max() <= SUM_TOLERANCE[table] * np.abs(reference).max()
        assert (ffn(x) == summed).all()


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("projection", "table"), KINDS)
@pytest.mark.parametrize("isa", ISAS)
def test_every_stage_against_the_oracle(shape: str, projection: str, table: str, isa: str) -> None:
    hold_to_the_oracle(make(random_weights(**SHAPES[shape]), projection, table, isa=isa))  # type: ignore[arg-type]


@needs_kernels
@pytest.mark.parametrize(("projection", "table"), KINDS)
def test_threads_tiles_and_groups_leave_every_bit(projection: str, table: str) -> None:
    weights = random_weights(128, 192, 24, 16)
    x = inputs(301, 128)
    first = make(weights, projection, table)(x)
    for threads in (2, 3, 5):
        for _ in range(3):
            assert (make(weights, projection, table, threads=threads)(x) == first).all()
    ffn = make(weights, projection, table)
    for plan in (Plan(48, 48, 24, 0), Plan(48, 4096, 24, 3, 2), Plan(48, 1, 24, 1, 1)):
        assert (ffn(x, plan=plan) == first).all()
    for plan in (Plan(48, 96, 4, 0, 2), Plan(6, 301, 8, 2)):
        assert np.abs(ffn(x, plan=plan) - first).max() <= 1e-5 * np.abs(first).max()


@needs_kernels
@pytest.mark.parametrize("stripe", [64, 128, 256, 320])
@pytest.mark.parametrize("table", ["fp32", "bf16", "int8"])
def test_stripes_change_the_layout_only(stripe: int, table: str) -> None:
    weights = random_weights(64, 300, 7, 16)
    x = inputs(10, 64)
    plain = make(weights, "fp32", table, stripe=64)(x)
    assert (make(weights, "fp32", table, stripe=stripe)(x) == plain).all()


@needs_kernels
def test_extreme_coordinates_have_the_documented_codes_and_scores() -> None:
    weights = random_weights(64, 64, 4, 256)
    ffn = make(weights, "fp32", "fp32")
    z = np.zeros((7, 32), dtype=np.float32)
    z[1], z[2], z[3], z[4] = -0.0, 1e-40, 100.0, 1.0
    z[5, 0], z[6, 0] = np.inf, np.nan
    codes, scores = ffn.codes_and_scores(z)
    assert codes[0].tolist() == codes[1].tolist() == [0] * 4
    assert scores[0].tolist() == scores[1].tolist() == [0.0] * 4
    assert codes[2].tolist() == codes[3].tolist() == [255] * 4
    assert scores[3] == pytest.approx(800.0)
    assert scores[4] == pytest.approx(2.897990, rel=1e-6)
    assert (codes[5, 0], scores[5, 0]) == (128, np.inf)
    assert codes[6, 0] == 0
    assert np.isnan(scores[6, 0])
    assert scores[6, 1:].tolist() == [0.0] * 3


@needs_kernels
@pytest.mark.parametrize(("projection", "table"), KINDS)
def test_a_token_that_is_not_finite_stays_alone(projection: str, table: str) -> None:
    weights = random_weights(128, 64, 8, 16)
    ffn = make(weights, projection, table)
    x = inputs(13, 128)
    clean = ffn(x)
    x[4, 7], x[9, 0] = np.nan, np.inf
    spoiled = ffn(x)
    assert np.isnan(spoiled[[4, 9]]).all()
    others = [i for i in range(13) if i not in (4, 9)]
    assert (spoiled[others] == clean[others]).all()
    assert np.isfinite(ffn(np.zeros((1, 128), dtype=np.float32))).all()


@needs_kernels
def test_an_index_out_of_range_is_refused() -> None:
    weights = random_weights(64, 64, 4, 16)
    for table in ("fp32", "bf16", "int8"):
        ffn = make(weights, "fp32", table)
        codes, scores = np.zeros((3, 4), dtype=np.int64), np.ones((3, 4), dtype=np.float32)
        codes[2, 1] = 16
        with pytest.raises(IndexError, match=r"codes\[2, 1\] is 16, but the tables have 16 rows"):
            ffn.gather(codes, scores)
        codes[2, 1] = -1
        with pytest.raises(IndexError, match=r"codes\[2, 1\] is -1"):
            ffn.gather(codes, scores)


@needs_kernels
def test_the_kernel_itself_refuses_a_bad_index() -> None:
    weights = random_weights(64, 64, 4, 16)
    ffn = make(weights, "fp32", "fp32")
    codes = np.full((2, 4), 3, dtype=np.uint16)
    codes[1, 2] = 16
    scores, sums = np.ones((2, 4), dtype=np.float32), np.full((2, 64), 7.0, dtype=np.float32)
    where = ffn._functions["gather"](
        ctypes.byref(ffn._c_tables), ctypes.c_void_p(codes.ctypes.data), ctypes.c_void_p(scores.ctypes.data), library.I64(4),
        library.I64(2), ctypes.c_void_p(sums.ctypes.data), library.I64(64), library.I64(0), library.I64(1),
        ctypes.byref(library.GatherSchedule(1, 4, 1, 1, 0, 4)),
    )  # fmt: skip
    assert where == 6
    assert (sums == 7.0).all()


@needs_kernels
def test_arrays_pass_without_copies_and_wrong_ones_are_named() -> None:
    weights = random_weights(64, 48, 4, 16)
    ffn = make(weights, "fp32", "fp32")
    x = inputs(6, 64)
    out = np.empty((6, 48), dtype=np.float32)
    assert ffn(x, out) is out
    wide = np.zeros((6, 100), dtype=np.float32)
    wide[:, 10:74] = x
    assert (ffn(wide[:, 10:74]) == out).all()  # rows with a stride, and not on 64-byte boundaries
    assert (ffn(x.reshape(2, 3, 64)) == out.reshape(2, 3, 48)).all()
    assert ffn(x[:0]).shape == (0, 48)
    np.testing.assert_allclose(ffn(x[0]), out[0], rtol=1e-4, atol=1e-6)
    for wrong, message in (
        (x.astype(np.float64), "x: must be float32, got float64"),
        (x[:, :60], r"x: the last axis must be d = 64, got shape \(6, 60\)"),
        (x.tolist(), "x: must be a NumPy array, got list"),
    ):
        with pytest.raises(ShapeError, match=message):
            ffn(wrong)
    with pytest.raises(ShapeError, match=r"out: must be a float32 array of shape \(6, 48\)"):
        ffn(x, np.empty((6, 47), dtype=np.float32))


BAD_WEIGHTS = {
    "rows no power of two": ({"tables": np.zeros((4, 12, 8)), "dense": np.zeros((12, 8))}, "must be a power of two"),
    "both projections": ({"tables": np.zeros((4, 16, 8)), "dense": 1, "blocks": 1}, "not both"),
    "no projection": ({"tables": np.zeros((4, 16, 8))}, "not neither"),
    "tables of two axes": ({"tables": np.zeros((4, 16)), "dense": 1}, "tables: must have 3 axes"),
    "text": ({"tables": np.zeros((4, 16, 8), dtype="U1"), "dense": 1}, "must hold real numbers"),
    "dense of another shape": (
        {"tables": np.zeros((4, 16, 8)), "dense": np.zeros((15, 8))}, r"dense: must have shape \[M, d\] = \(16, 8\)"),
    "blocks of another shape": (
        {"tables": np.zeros((4, 16, 8)), "blocks": np.zeros((2, 4, 1, 16, 16))}, r"need \[1, stages, 1, 16, 16\]"),
    "bias too short": (
        {"tables": np.zeros((4, 16, 8)), "blocks": np.zeros((1, 4, 1, 16, 16)), "bias": np.zeros(7)}, "bias: must have length 8"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_weights_that_do_not_fit_are_refused_in_words(name: str) -> None:
    arguments, message = BAD_WEIGHTS[name]
    with pytest.raises(ShapeError, match=message):
        lookup_weights(**arguments)


def test_the_oracle_has_the_golden_scores() -> None:
    weights = random_weights(64, 8, 1, 256)
    for value, score in ((1.0, 2.897990), (0.0, 0.0), (3.0, 23.529345)):
        assert oracle.scores(np.full((1, 8), value), weights)[0, 0] == pytest.approx(score, abs=1e-6)
    assert oracle.codes(np.array([[1.0, *[-1.0] * 7]]), weights)[0, 0] == 128
