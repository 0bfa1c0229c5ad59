"""NEON kernels, and the scalar ones compiled for AArch64, against the float64 oracle: under qemu-user where the host is another
machine. Buffers end at a page without access, so a read or a write behind one ends the driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels.build import BuildError, Variant, build, variants
from kernels.isa import ISAS
from kernels.lookup import Plan
from kernels.peak import NEON_LATENCIES, NEON_RATES
from kernels.plan import variant_plan
from kernels.timing import MemoryTask, PeakTask
from kernels.weights import lookup_weights, random_weights
from tests import oracle
from tests.neon.emulator import AARCH64, Emulator, Function, Record, missing
from tests.neon.layer import EmulatedFfn
from tests.test_dense_kernels import layer
from tests.test_lookup_kernels import KINDS, SUM_TOLERANCE, Z_TOLERANCE, hold_to_the_oracle, inputs

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

BH4 = {
    "published, fewer columns": {"hidden": 512, "columns": 192, "tables": 128, "rows": 256},
    "d no power of two": {"hidden": 500, "columns": 500, "tables": 33, "rows": 32, "block": 32},
    "blocks of 16": {"hidden": 96, "columns": 100, "tables": 120, "rows": 2, "block": 16},
    "blocks of 128": {"hidden": 768, "columns": 64, "tables": 5, "rows": 4096, "block": 128},
    "one block": {"hidden": 64, "columns": 64, "tables": 9, "rows": 256, "block": 64},
    "two stages": {"hidden": 128, "columns": 320, "tables": 17, "rows": 8, "stages": 2},
    "sixteen inputs": {"hidden": 10, "columns": 5, "tables": 50, "rows": 4, "block": 16, "stages": 3},
}
DENSE = {
    "published, fewer columns": {"hidden": 512, "columns": 64, "tables": 128, "rows": 256},
    "outputs in planes": {"hidden": 500, "columns": 50, "tables": 33, "rows": 256},
    "d odd": {"hidden": 33, "columns": 70, "tables": 37, "rows": 8},
    "several chunks of int16": {"hidden": 1300, "columns": 64, "tables": 9, "rows": 4096},
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    running = Emulator()
    yield running
    running.close()


@pytest.mark.parametrize("variant", [v for v in variants() if v.isa.machine in ("", AARCH64)], ids=str)
def test_every_variant_compiles_for_aarch64(variant: Variant) -> None:
    assert build(variant, target_machine=AARCH64).is_file()


@pytest.mark.parametrize("shape", BH4)
@pytest.mark.parametrize(("projection", "table"), KINDS)
def test_bh4_and_every_other_stage_against_the_oracle(
    emulator: Emulator, shape: str, projection: Any, table: Any
) -> None:
    weights = random_weights(**BH4[shape])  # type: ignore[arg-type]
    hold_to_the_oracle(EmulatedFfn(emulator, weights, projection, table), (1, 2, 3, 5, 13, 65))


def test_int8_sums_beyond_the_whole_numbers_of_a_float(emulator: Emulator) -> None:
    weights = random_weights(512, 64, 4, 16, block=512)
    hold_to_the_oracle(EmulatedFfn(emulator, weights, "int8", "int8"), (1, 9))


@pytest.mark.parametrize("shape", DENSE)
@pytest.mark.parametrize(("projection", "table"), KINDS)
def test_dense_against_the_oracle(emulator: Emulator, shape: str, projection: Any, table: Any) -> None:
    weights = random_weights(**DENSE[shape], projection="dense")  # type: ignore[arg-type]
    hold_to_the_oracle(EmulatedFfn(emulator, weights, projection, table), (1, 3, 65))


@pytest.mark.parametrize("projection", ["bh4", "dense"])
@pytest.mark.parametrize(("kind", "table"), KINDS)
def test_scalar_kernels_on_aarch64_against_the_oracle(
    emulator: Emulator, projection: str, kind: Any, table: Any
) -> None:
    weights = random_weights(100, 70, 12, 256, projection=projection)
    hold_to_the_oracle(EmulatedFfn(emulator, weights, kind, table, isa="scalar"), (1, 7))


@pytest.mark.parametrize("projection", ["int16", "int8"])
@pytest.mark.parametrize("batch", [3, 14])
def test_no_sum_of_products_leaves_32_bits(emulator: Emulator, projection: Any, batch: int) -> None:
    """Every product has the same sign and the largest magnitude that its kind has."""
    sign = np.where(np.random.default_rng(0).random(1024) < 0.5, -1.0, 1.0).astype(np.float32)
    weights = layer(np.stack([sign, -sign] * 32))
    x = sign[None] * np.linspace(0.5, 2.0, batch, dtype=np.float32)[:, None]
    exact = oracle.project(oracle.layer_norm(x, weights), weights)
    ffn = EmulatedFfn(emulator, weights, projection, "fp32")
    np.testing.assert_allclose(ffn.project(x), exact, rtol=Z_TOLERANCE[projection])


@pytest.mark.parametrize("form", ["bh4", "dense"])
@pytest.mark.parametrize(("projection", "table"), KINDS)
def test_threads_tiles_and_groups_leave_every_bit(emulator: Emulator, form: str, projection: Any, table: Any) -> None:
    hidden = 128 if form == "bh4" else 700  # dense: more than one piece of widened bf16
    weights = random_weights(hidden, 192, 24, 16, projection=form)
    x = inputs(301, hidden)
    ffn = EmulatedFfn(emulator, weights, projection, table)
    first = ffn(x)
    for threads in (2, 3):
        assert (EmulatedFfn(emulator, weights, projection, table, threads=threads)(x) == first).all()
    for plan in (Plan(48, 48, 24, 0), Plan(48, 4096, 24, 3, 2), Plan(48, 1, 24, 1, 1), Plan(48, 96, 4, 0, 2),
                 Plan(5, 301, 8, 2), Plan(1, 48, 24, 0)):  # fmt: skip
        assert (ffn(x, plan=plan) == first).all()


@pytest.mark.parametrize("variant", ["v4", "v5"])
@pytest.mark.parametrize("table", ["fp32", "bf16", "int8"])
def test_columns_and_tables_over_threads(emulator: Emulator, table: Any, variant: str) -> None:
    weights = random_weights(64, 200, 21, 8)
    x = inputs(23, 64)
    results = []
    for threads in (1, 2, 3):
        ffn = EmulatedFfn(emulator, weights, "fp32", table, threads=threads, stripe=64)
        results.append(ffn(x, plan=variant_plan(variant, 23, ffn.tables.tables, threads)))
    exact = oracle.gather(*ffn.codes_and_scores(ffn.project(x)), weights)
    assert np.abs(results[0] - exact).max() <= SUM_TOLERANCE[table] * np.abs(exact).max()
    assert all((result == results[0]).all() for result in results)


@pytest.mark.parametrize("table", ["fp32", "bf16", "int8"])
def test_parts_of_the_tables_add_up(emulator: Emulator, table: Any) -> None:
    ffn = EmulatedFfn(emulator, random_weights(64, 100, 12, 16), "fp32", table)
    codes, scores = ffn.codes_and_scores(ffn.project(inputs(5, 64)))
    plan = Plan(48, 3, 4, 0)
    parts = [ffn.raw_gather(codes, scores, plan, part)[1] for part in ((0, 4), (4, 8), (8, 12))]
    whole = ffn.raw_gather(codes, scores, plan)[1]
    assert np.abs(sum(parts) - whole).max() <= 1e-6 * np.abs(whole).max()


@pytest.mark.parametrize("scales", ["row", 4])
def test_int8_scales_of_rows(emulator: Emulator, scales: Any) -> None:
    weights = random_weights(64, 70, 13, 32)
    uneven = replace(weights, tables=weights.tables * np.logspace(-2, 0, 32, dtype=np.float32)[None, :, None])
    ffn = EmulatedFfn(emulator, uneven, "fp32", "int8", table_scales=scales)
    codes, scores = ffn.codes_and_scores(ffn.project(inputs(9, 64)))
    exact = oracle.gather(codes, scores, uneven)
    assert np.abs(ffn.gather(codes, scores) - exact).max() <= SUM_TOLERANCE["int8"] * np.abs(exact).max()


@pytest.mark.parametrize("table", ["fp32", "bf16", "int8"])
def test_stripes_change_the_layout_only(emulator: Emulator, table: Any) -> None:
    weights = random_weights(64, 300, 7, 16)
    x = inputs(10, 64)
    plain = EmulatedFfn(emulator, weights, "fp32", table, stripe=64)(x)
    for stripe in (128, 320):
        assert (EmulatedFfn(emulator, weights, "fp32", table, stripe=stripe)(x) == plain).all()


@pytest.mark.parametrize("planes", [False, True])
def test_extreme_coordinates_have_the_documented_codes_and_scores(emulator: Emulator, planes: bool) -> None:
    weights = random_weights(64, 64, 11, 256)
    ffn = EmulatedFfn(emulator, weights, "fp32", "fp32")
    z = np.zeros((7, 88), np.float32)
    z[1], z[2], z[3], z[4] = -0.0, 1e-40, 100.0, 1.0
    z[5, 0], z[6, 0] = np.inf, np.nan
    if planes:
        z = np.pad(z, ((0, 0), (0, 40))).reshape(7, 2, 8, 8).swapaxes(2, 3).reshape(7, 128)
    codes, scores = ffn.code_score(np.ascontiguousarray(z), planes=planes)
    assert codes[0].tolist() == codes[1].tolist() == [0] * 11
    assert scores[0].tolist() == scores[1].tolist() == [0.0] * 11
    assert codes[2].tolist() == codes[3].tolist() == [255] * 11
    assert scores[3] == pytest.approx(800.0)
    assert scores[4] == pytest.approx(2.897990, rel=1e-6)
    assert (codes[5, 0], scores[5, 0]) == (128, np.inf)
    assert codes[6, 0] == 0
    assert np.isnan(scores[6, 0])
    assert scores[6, 1:].tolist() == [0.0] * 10


@pytest.mark.parametrize("bits", range(1, 13))
def test_codes_and_scores_of_any_number_of_bits(emulator: Emulator, bits: int) -> None:
    weights = random_weights(16, 1, 13, 1 << bits, projection="dense")
    z = 3.0 * np.random.default_rng(bits).standard_normal((4, weights.outputs)).astype(np.float32)
    codes, scores = EmulatedFfn(emulator, weights, "fp32", "fp32").codes_and_scores(z)
    assert (codes == oracle.codes(z, weights)).all()
    np.testing.assert_allclose(scores, oracle.scores(z, weights), rtol=2e-6)


@pytest.mark.parametrize("projection", ["bh4", "dense"])
@pytest.mark.parametrize(("kind", "table"), KINDS)
@pytest.mark.parametrize("batch", [11, 29])
def test_a_token_that_is_not_finite_stays_alone(
    emulator: Emulator, projection: str, kind: Any, table: Any, batch: int
) -> None:
    weights = random_weights(128, 64, 8, 16, projection=projection)
    ffn = EmulatedFfn(emulator, weights, kind, table)
    x = inputs(batch, 128)
    clean = ffn(x)
    x[4, 7], x[9, 0] = np.nan, np.inf
    x[10].view(np.uint32)[127] = 0x7FFFFFFF  # rounding this NaN to bf16 as a number would make it -0
    spoiled = ffn(x)
    assert np.isnan(spoiled[[4, 9, 10]]).all()
    others = [i for i in range(batch) if i not in (4, 9, 10)]
    assert (spoiled[others] == clean[others]).all()
    assert np.isfinite(ffn(np.zeros((1, 128), np.float32))).all()


@pytest.mark.parametrize("projection", ["bh4", "dense"])
@pytest.mark.parametrize("kind", ["int16", "int8"])
def test_infinite_activations_cannot_be_quantised(emulator: Emulator, projection: str, kind: Any) -> None:
    plain = random_weights(64, 64, 8, 16, projection=projection)
    gamma = np.ones(64, np.float32)
    gamma[3] = np.inf
    for batch in (2, 20):
        assert np.isnan(
            EmulatedFfn(emulator, replace(plain, gamma=gamma), kind, "fp32").project(inputs(batch, 64))
        ).all()


@pytest.mark.parametrize("table", ["fp32", "bf16", "int8"])
def test_an_index_out_of_range_is_refused_unread(emulator: Emulator, table: Any) -> None:
    ffn = EmulatedFfn(emulator, random_weights(64, 64, 4, 16), "fp32", table)
    codes = np.full((2, 4), 3, np.uint16)
    for bad in (16, 65535):
        codes[1, 2] = bad
        where, sums = ffn.raw_gather(codes, np.ones((2, 4), np.float32))
        assert where == 6
        assert (sums == 7.0).all()


@pytest.mark.parametrize("score", [np.nan, np.inf])
@pytest.mark.parametrize("table", ["fp32", "bf16", "int8"])
def test_a_score_that_is_not_finite_spoils_its_token_only(emulator: Emulator, table: Any, score: float) -> None:
    ffn = EmulatedFfn(emulator, random_weights(64, 64, 8, 16), "fp32", table)
    codes, scores = np.full((3, 8), 3, np.uint16), np.ones((3, 8), np.float32)
    scores[1, 5] = score
    sums = ffn.gather(codes, scores)
    assert not np.isfinite(sums[1]).any()
    assert (sums[0] == sums[2]).all()
    assert np.isfinite(sums[0]).all()


def memory(emulator: Emulator, symbol: str, data: Any, lines: Any = None, **fields: int) -> int:
    """What a memory probe of NEON returns."""
    task = Record(MemoryTask(bytes=data.nbytes, **fields), {"data": data, "lines": lines})
    return emulator.call(Function("memory", "neon", symbol), task)


def test_memory_sweeps_go_over_all_bytes_and_copy_them(emulator: Emulator) -> None:
    data = np.random.default_rng(0).integers(0, 256, 8192, dtype=np.uint8)
    before = data.copy()
    assert memory(emulator, "memory_read", data, count=3) == 3 * 8192
    assert memory(emulator, "memory_update", data, count=2) == 4 * 8192
    assert (data == before).all()
    assert memory(emulator, "memory_copy", data, count=1) == 8192
    assert (data == np.tile(before[:4096], 2)).all()
    for symbol in ("memory_write", "memory_write_streaming"):
        data = before.copy()
        assert memory(emulator, symbol, data, count=1) == 8192
        pieces = data.reshape(-1, 256)  # sixteen registers, again and again
        assert (pieces == pieces[0]).all()


@pytest.mark.parametrize("prefetch_bytes", [0, 1024])
def test_memory_rows_stay_in_their_rows(emulator: Emulator, prefetch_bytes: int) -> None:
    data = np.zeros(1 << 15, np.uint8)
    for row_bytes in (64, 128, 256, 512, 1024, 2048, 4096, 8192):
        starts = np.arange(0, data.nbytes, row_bytes)[::-1] // 64
        lines = np.concatenate([starts, np.tile(starts, 40)]).astype(np.uint32)
        fields = {
            "length": len(starts),
            "count": len(starts) + 3,
            "row_bytes": row_bytes,
            "prefetch_bytes": prefetch_bytes,
        }
        assert memory(emulator, "memory_rows", data, lines, **fields) == (len(starts) + 3) * row_bytes
        for k in (1, 2, 4, 8, 16):
            done = memory(emulator, "memory_rows_work", data, lines, fmas_per_line=k, **fields)
            assert done == ((len(starts) + 3) * 512 if row_bytes == 512 else -1)


def test_peak_probes_count_their_instructions(emulator: Emulator) -> None:
    for symbol in sorted({i.symbol for i in (*NEON_RATES, *NEON_LATENCIES)} | {"peak_clock_fma"}):
        assert emulator.call(Function("peak", "neon", symbol), Record(PeakTask(7), {})) == 7 * 24


def test_a_read_behind_a_buffer_ends_the_driver() -> None:
    weights = lookup_weights(tables=np.zeros((1, 2, 64)), dense=np.ones((1, 16)))
    own = Emulator()
    x = np.ones((1, 16), np.float32)
    with pytest.raises(AssertionError, match=r"the driver ended with .* in layer_norm of layer_norm/neon"):
        own.call(Function("layer_norm", "neon", "layer_norm"), x, 16, 2, 16, weights.gamma, weights.beta, 1e-5,
                 np.zeros((2, 16), np.float32), 16, None)  # fmt: skip
    own.close()


def test_the_list_says_which_machine_a_variant_needs() -> None:
    assert ISAS["neon"].machine == AARCH64
    with pytest.raises(BuildError, match="install g\\+\\+-riscv64-linux-gnu"):
        build(Variant("layer_norm", "scalar"), target_machine="riscv64")
