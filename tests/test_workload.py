"""Golden numbers of the published configurations, and the properties of index distributions."""

from __future__ import annotations

import math
import timeit
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.workload import (
    GemmFfn,
    IndexDistribution,
    LookupFfn,
    Workload,
    activations_per_token,
    derive_lookup,
    effective_rows,
    exps_per_token,
    flop_breakdown,
    flop_per_token,
    hash_bits,
    model_bytes,
    padded_hidden,
    parameters,
    projection_outputs,
    projection_parameters,
    repeats,
    row_bytes,
    row_probabilities,
    table_bytes,
    unique_rows,
    weight_bytes,
    with_dtype,
)

MIB = 2.0**20
DENSE = GemmFfn(512, 2048)
T128_BH4 = LookupFfn(512, 512, 128, 256)
CONFIGURATIONS = {
    "t128-s8-bh4": T128_BH4,
    "t64-s8-bh4": LookupFfn(512, 512, 64, 256),
    "t128-s8-dense": LookupFfn(512, 512, 128, 256, "dense"),
    "t64-s8-dense": LookupFfn(512, 512, 64, 256, "dense"),
}
UNIFORM = IndexDistribution()


# --- golden numbers ------------------------------------------------------------------------------------------------


def test_flop_of_the_published_configuration_by_part() -> None:
    assert flop_breakdown(T128_BH4) == {
        "block_gemm": 524288,
        "fwht": 36864,
        "mix_and_bias": 4096,
        "score": 5248,
        "gather": 131072,
        "output_bias": 512,
    }


@pytest.mark.parametrize(
    ("name", "outputs", "projection_mib", "flop", "ratio", "tables_mib", "rows", "gathered"),
    [
        ("t128-s8-bh4", 1024, 1.004, 702080, 5.97, 64, 128, 262144),
        ("t64-s8-bh4", 512, 0.502, 351296, 11.94, 32, 64, 131072),
        ("t128-s8-dense", 1024, 2.004, 1186432, 3.54, 64, 128, 262144),
        ("t64-s8-dense", 512, 1.002, 593472, 7.07, 32, 64, 131072),
    ],
)
def test_shipped_configurations(
    name: str, outputs: int, projection_mib: float, flop: int, ratio: float, tables_mib: int, rows: int, gathered: int
) -> None:
    op = CONFIGURATIONS[name]
    assert projection_outputs(op) == exps_per_token(op) == outputs
    assert round(weight_bytes(op) / MIB, 3) == projection_mib
    assert flop_per_token(op) == flop
    assert round(flop_per_token(DENSE) / flop, 2) == ratio
    for dtype, share in (("fp32", 1), ("bf16", 2), ("int8", 4)):
        assert table_bytes(replace(op, table_dtype=dtype)) == tables_mib / share * MIB
    assert (op.tables, row_bytes(op)) == (rows, 2048)
    assert op.tables * row_bytes(op) == gathered


def test_dense_ffn_of_roberta_small() -> None:
    assert flop_per_token(DENSE) == 4194304
    assert activations_per_token(DENSE) == 2048
    assert activations_per_token(T128_BH4) == 0
    assert round(parameters(DENSE) / 1e6, 2) == 2.10


def test_parameters_of_the_published_configuration() -> None:
    assert projection_parameters(T128_BH4) == 262144 + 1024
    assert T128_BH4.tables * T128_BH4.rows * T128_BH4.output == 16777216
    assert parameters(T128_BH4) == 16777216 + 262144 + 1024 + 512
    assert round(parameters(T128_BH4) / parameters(DENSE), 1) == 8.1
    assert model_bytes(Workload("x", T128_BH4, layers=4)) == 4 * (64 * MIB + 263168 * 4)


def test_shape_of_bh4() -> None:
    assert (hash_bits(T128_BH4), padded_hidden(T128_BH4), repeats(T128_BH4)) == (8, 512, 2)
    bert = LookupFfn(768, 768, 192, 256)
    assert (padded_hidden(bert), projection_outputs(bert), repeats(bert)) == (1024, 1536, 2)
    assert repeats(replace(T128_BH4, tables=1)) == 1


@pytest.mark.parametrize(
    ("hidden", "intermediate", "gated", "mib"),
    [
        (512, 2048, False, (8, 4, 2, 1.125)),
        (768, 3072, False, (18, 9, 4.5, 2.53125)),
        (2048, 8192, True, (192, 96, 48, 27)),
        (3072, 8192, True, (288, 144, 72, 40.5)),
        (4096, 14336, True, (672, 336, 168, 94.5)),
    ],
)
def test_dense_weights(hidden: int, intermediate: int, gated: bool, mib: tuple[float, ...]) -> None:
    for dtype, size in zip(("fp32", "bf16", "int8", "int4-weight-only"), mib, strict=True):
        op = GemmFfn(hidden, intermediate, dtype, gated, bias=False)
        assert weight_bytes(op) == size * MIB


def test_gated_ffn_counts_three_matrices_and_the_gate() -> None:
    op = GemmFfn(2048, 8192, gated=True, activation="silu", bias=False)
    assert flop_per_token(op) == 6 * 2048 * 8192 + 8192
    assert parameters(op) == 3 * 2048 * 8192


@pytest.mark.parametrize(("batch", "mib"), [(1, 0.25), (8, 1.97), (64, 14.18), (512, 55.37), (4096, 64.00)])
def test_rows_touched(batch: int, mib: float) -> None:
    per_row = T128_BH4.tables * row_bytes(T128_BH4)
    assert round(unique_rows(UNIFORM, 256, batch) * per_row / MIB, 2) == mib


def score(z: np.ndarray) -> float:
    """Reference: sum |z| / prod (1 + exp(-2 |z|))."""
    return float(np.abs(z).sum() / np.prod(1.0 + np.exp(-2.0 * np.abs(z))))


def code(z: np.ndarray) -> int:
    """Reference: sign bits, the first coordinate most significant, zero counts as negative."""
    return int(sum((value > 0) << (len(z) - 1 - j) for j, value in enumerate(z)))


def test_code_and_score() -> None:
    assert round(score(np.ones(8)), 6) == 2.897990
    assert score(np.zeros(8)) == 0.0
    assert round(score(np.full(8, -3.0)), 6) == 23.529345
    assert code(np.array([1.0, -1, -1, -1, -1, -1, -1, -1])) == 128
    assert code(np.zeros(8)) == 0
    assert 5 * 256 + code(np.array([1.0, -1, -1, -1, -1, -1, -1, -1])) == 1408


# --- arrays --------------------------------------------------------------------------------------------------------


def test_arrays_agree_with_plain_numbers() -> None:
    hidden, tables, rows = np.array([512.0, 768.0, 1000.0]), np.array([128.0, 192.0, 7.0]), np.array([256.0, 16.0, 2.0])
    for projection in ("bh4", "dense"):
        together = LookupFfn(hidden, hidden, tables, rows, projection)
        for measure in (flop_per_token, exps_per_token, parameters, weight_bytes, table_bytes, repeats, padded_hidden):
            alone = [
                measure(LookupFfn(h, h, t, r, projection))
                for h, t, r in zip(hidden.tolist(), tables.tolist(), rows.tolist(), strict=True)
            ]
            assert np.array_equal(measure(together), alone), measure.__name__


def test_rows_must_be_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="rows must be a power of two, got 200"):
        hash_bits(replace(T128_BH4, rows=200))
    with pytest.raises(ValueError, match="rows must be a power of two"):
        hash_bits(replace(T128_BH4, rows=np.array([256.0, 100.0])))


# --- index distributions -------------------------------------------------------------------------------------------

ROWS = st.integers(0, 12).map(lambda bits: 2**bits)
BATCHES = st.integers(1, 100_000)
SKEWS = st.floats(0.0, 4.0)
DISTRIBUTIONS = st.one_of(st.just(UNIFORM), SKEWS.map(lambda skew: IndexDistribution("zipf", skew)))


def zipf(skew: float) -> IndexDistribution:
    return IndexDistribution("zipf", skew)


@given(DISTRIBUTIONS, ROWS, BATCHES, BATCHES)
def test_unique_rows_never_fall_with_the_batch(d: IndexDistribution, rows: int, a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert unique_rows(d, rows, low) <= unique_rows(d, rows, high) * (1 + 1e-12)


@given(DISTRIBUTIONS, ROWS, BATCHES)
def test_unique_rows_are_bounded(d: IndexDistribution, rows: int, batch: int) -> None:
    found = unique_rows(d, rows, batch)
    assert 1 - 1e-12 <= found <= min(rows, batch) * (1 + 1e-12)
    assert unique_rows(d, rows, 1) == pytest.approx(1.0, rel=1e-12)


@given(ROWS, BATCHES)
def test_zipf_without_skew_is_uniform(rows: int, batch: int) -> None:
    assert unique_rows(zipf(0.0), rows, batch) == pytest.approx(unique_rows(UNIFORM, rows, batch), rel=1e-12)
    assert effective_rows(zipf(0.0), rows) == pytest.approx(effective_rows(UNIFORM, rows), rel=1e-12)


@given(ROWS, BATCHES, SKEWS, SKEWS)
def test_skew_reduces_unique_rows(rows: int, batch: int, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert unique_rows(zipf(high), rows, batch) <= unique_rows(zipf(low), rows, batch) * (1 + 1e-12)
    assert effective_rows(zipf(high), rows) * (1 + 1e-9) >= 1.0
    assert effective_rows(zipf(high), rows) <= effective_rows(zipf(low), rows) * (1 + 1e-9)


@given(ROWS, SKEWS)
def test_probabilities_sum_to_one(rows: int, skew: float) -> None:
    for d in (UNIFORM, zipf(skew), IndexDistribution("histogram", histogram=tuple(range(1, rows + 1)))):
        shares = row_probabilities(d, rows)
        assert shares.shape == (rows,)
        assert math.fsum(shares) == pytest.approx(1.0, rel=1e-12)


def test_unique_rows_equal_the_sum_over_rows() -> None:
    counts = (5.0, 0.0, 1.0, 2.0)
    expected = sum(1 - (1 - count / 8) ** 3 for count in counts)
    histogram = IndexDistribution("histogram", histogram=counts)
    assert unique_rows(histogram, 4, 3) == pytest.approx(expected, rel=1e-14)
    one_row = IndexDistribution("histogram", histogram=(0.0, 1.0))
    assert unique_rows(one_row, 2, 1000) == effective_rows(one_row, 2) == 1.0


def test_unique_rows_broadcast() -> None:
    batch = np.array([[1.0, 64.0], [512.0, 4096.0]])
    for d in (UNIFORM, zipf(0.7), zipf(1.5)):
        found = unique_rows(d, 256, batch)
        assert found.shape == batch.shape
        assert found == pytest.approx(np.vectorize(lambda b, d=d: unique_rows(d, 256, float(b)))(batch), rel=1e-12)
    rows, skews = np.array([[64.0], [256.0]]), np.array([0.0, 0.5, 1.0])
    found = unique_rows(IndexDistribution("zipf", skews), rows, 100.0)
    assert found.shape == (2, 3)
    assert found[1, 2] == pytest.approx(unique_rows(zipf(1.0), 256, 100.0), rel=1e-12)
    assert effective_rows(IndexDistribution("zipf", skews), 256).shape == (3,)
    assert unique_rows(UNIFORM, np.array([1.0, 256.0]), 10.0)[0] == 1.0


def test_wrong_distributions_are_refused() -> None:
    with pytest.raises(ValueError, match="a histogram of 2 shares does not fit tables of 4 rows"):
        unique_rows(IndexDistribution("histogram", histogram=(1.0, 1.0)), 4, 1)
    with pytest.raises(ValueError, match="shares must be >= 0 and not all zero"):
        row_probabilities(IndexDistribution("histogram", histogram=(1.0, -1.0)), 2)
    with pytest.raises(ValueError, match="skew must be >= 0"):
        row_probabilities(zipf(-1.0), 2)


def test_unique_rows_are_cheap() -> None:
    seconds = min(timeit.repeat(lambda: unique_rows(UNIFORM, 256.0, 512.0), number=1000, repeat=5)) / 1000
    assert seconds < 20e-6


# --- one workload from another -------------------------------------------------------------------------------------


def test_with_dtype() -> None:
    gemm = Workload("g", DENSE)
    assert with_dtype(gemm, "int4-weight-only").operator == replace(DENSE, dtype="int4-weight-only")
    lookup = Workload("l", T128_BH4)
    pairs = {}
    for dtype in ("fp32", "bf16", "int8"):
        op = with_dtype(lookup, dtype).operator
        assert isinstance(op, LookupFfn)
        pairs[dtype] = (op.projection_dtype, op.table_dtype)
    assert pairs == {"fp32": ("fp32", "fp32"), "bf16": ("bf16", "bf16"), "int8": ("int16", "int8")}
    with pytest.raises(ValueError, match="a look-up FFN has no int4-weight-only form; choose one of fp32, bf16, int8"):
        with_dtype(lookup, "int4-weight-only")
    with pytest.raises(
        ValueError, match="a GEMM FFN has no fp8 form; choose one of fp32, bf16, int8, int8-weight-only,"
    ):
        with_dtype(gemm, "fp8")


def test_derive_lookup() -> None:
    bert = Workload("BERT-base", GemmFfn(768, 3072, "int8"), layers=12, batch=64, id="bert-base")
    derived = derive_lookup(bert)
    assert derived.operator == LookupFfn(768, 768, 192, 256, table_dtype="int8", projection_dtype="int16")
    assert (derived.id, derived.dense, derived.verified) == ("hypo-bert-base-t192", "bert-base", False)
    assert derived.name == "hypothetical LookupFFN for BERT-base (192 tables x 256 rows, bh4)"
    assert (derived.layers, derived.batch) == (12, 64)
    assert derive_lookup(bert, tables=64).operator.tables == 64  # type: ignore[union-attr]
    narrow = derive_lookup(Workload("n", GemmFfn(20, 80)))
    assert narrow.operator.block == 32  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="is a look-up already"):
        derive_lookup(derived)
