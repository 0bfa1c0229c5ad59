"""Winners, ratios and crossovers of made-up pairs whose answers are known by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.validatecases import point, result
from validate.results import Result
from validate.winners import Pair, agreement, crossovers, pairs, ratio_errors


def pair(measured: float, predicted: float, batch: int = 8, group: int = 0, **options: Any) -> Pair:
    """GEMM's time over look-up's as measured and as predicted, look-up taking 2 s in both."""
    common: dict[str, Any] = {"group": group, **options}
    return Pair(
        result(point("lookup_ffn", batch), 2.0, measured=2.0, **common),
        result(point("gemm_ffn", batch), 2.0 * predicted, measured=2.0 * measured, **common),
    )


def sweep(
    measured: tuple[float, ...], predicted: tuple[float, ...], batches: tuple[int, ...] = (1, 16, 256), group: int = 0
) -> list[Pair]:
    return [pair(m, p, b, group) for m, p, b in zip(measured, predicted, batches, strict=True)]


def test_ratios_are_above_1_where_look_up_is_faster() -> None:
    one = pair(3.0, 1.5)
    assert (one.measured, one.predicted, one.agrees) == (3.0, 1.5, True)


def test_a_pair_has_one_group_and_one_batch() -> None:
    results = [
        result(point(operator, batch, **fields), 1.0, group=group)
        for operator, batch, group, fields in (
            ("lookup_ffn", 8, 0, {}),
            ("lookup_ffn", 8, 0, {"table_dtype": "fp32"}),
            ("gemm_ffn", 8, 0, {}),
            ("gemm_ffn", 8, 0, {"library": "openblas", "gemm_dtype": "fp32"}),
            ("gemm_ffn", 9, 0, {}),
            ("gemm_ffn", 8, 1, {}),
            ("gather", 8, 0, {}),
            ("lookup_ffn", 4, 1, {}),
        )
    ]
    found = list(pairs(results))
    assert [(results.index(p.lookup), results.index(p.gemm)) for p in found] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert list(pairs([])) == []


def test_agreement_is_the_share_of_pairs_with_the_same_winner() -> None:
    found = agreement([pair(3.0, 2.0), pair(0.25, 0.5), pair(1.2, 0.6), pair(0.8, 0.7)])
    assert (found["pairs"], found["ties_within_noise"], found["agreement"]) == (4, 0, 0.75)
    assert (found["close_pairs"], found["close_agreement"]) == (2, 0.5)


@pytest.mark.parametrize(("ratio", "close"), [(1.49, 1), (1.51, 0), (1 / 1.49, 1), (1 / 1.51, 0)])
def test_close_is_within_a_factor_of_one_and_a_half(ratio: float, close: int) -> None:
    assert agreement([pair(ratio, ratio)])["close_pairs"] == close


@pytest.mark.parametrize(("ratio", "ties"), [(1.14, 1), (1.16, 0), (1 / 1.14, 1), (1 / 1.16, 0)])
def test_ties_within_the_noise_of_both_do_not_count(ratio: float, ties: int) -> None:
    """Noises of 0.1 come to 0.1414 in logarithms: e to it is 1.152."""
    wrong = pair(ratio, 1.0 / ratio, noise=0.1)
    found = agreement([wrong, pair(2.0, 2.0, noise=0.1)])
    assert (found["ties_within_noise"], found["agreement"]) == (ties, 1.0 if ties else 0.5)
    assert found["close_agreement"] == (None if ties else 0.0)


@pytest.mark.parametrize(("ratio", "open_"), [(1.14, True), (1.16, False), (1 / 1.14, True), (1 / 1.16, False)])
def test_the_model_leaves_a_winner_open_within_its_interval(ratio: float, open_: bool) -> None:
    """Widths of e to 0.1 on both sides, 0.1414 together."""
    one = pair(1.0 / ratio, ratio, width=math.exp(0.1))
    assert one.is_open == open_
    found = agreement([one, pair(4.0, 4.0, width=math.exp(0.1))])
    assert (found["told_by_interval"], found["told_agreement"]) == ((1, 1.0) if open_ else (2, 0.5))
    assert (found["close_told_by_interval"], found["close_told_agreement"]) == ((0, None) if open_ else (1, 0.0))
    assert found["agreement"] == 0.5  # an open winner still counts there


def test_an_unsymmetric_interval_counts_by_its_half_width() -> None:
    p = pair(2.0, 1.2)
    lookup = Result(p.lookup.measured, 2.0, 2.0, 2.0 * math.exp(0.4), {}, 1.0, "")  # half of 0.4: e to 0.2 is 1.221
    gemm = Result(p.gemm.measured, 2.4, 2.4, 2.4, {}, 1.0, "")
    assert Pair(lookup, gemm).is_open
    assert not Pair(lookup, Result(p.gemm.measured, 2.5, 2.5, 2.5, {}, 1.0, "")).is_open


def test_no_pairs_no_shares() -> None:
    found = agreement([])
    assert (found["pairs"], found["agreement"], found["close_agreement"], found["told_agreement"]) == (
        0,
        None,
        None,
        None,
    )
    assert ratio_errors([]) == {"pairs": 0}
    assert crossovers([]) == []


def test_errors_of_ratios_by_hand() -> None:
    found = ratio_errors([pair(2.0, 2.2), pair(2.0, 1.6), pair(0.5, 0.5), pair(4.0, 5.2)])  # 10, 20, 0 and 30 %
    assert found["pairs"] == 4
    assert found["mean_abs_error"] == pytest.approx(0.15)
    assert found["median_abs_error"] == pytest.approx(0.15)
    assert found["p95_abs_error"] == pytest.approx(0.285)  # 0.85 of the way from 20 to 30 %


def test_a_crossover_lies_where_the_line_through_logarithms_passes_1() -> None:
    """Measured 4 at 1 token, 1/2 at 16: two thirds of the way. Predicted 8 and 1/8: half of it, and at the other place 1/2."""
    (found,) = crossovers(sweep((4.0, 0.5, 0.5), (8.0, 0.125, 0.125)))
    assert found["batch"] == pytest.approx(16 ** (2 / 3))
    assert found["predicted_batches"] == pytest.approx([4.0])
    assert found["speedup_error"] == pytest.approx(0.5)
    assert {name: found[name] for name in ("group", "lookup", "gemm", "threads", "residency")} == {
        "group": 0, "lookup": "bf16/int8", "gemm": "onednn bf16", "threads": 1, "residency": "hot",
    }  # fmt: skip


def test_the_order_of_the_points_does_not_matter() -> None:
    points = sweep((4.0, 0.5, 0.5), (8.0, 0.125, 0.125))
    assert crossovers(points[::-1]) == crossovers(points)


@pytest.mark.parametrize("ratios", [(2.0, 3.0, 2.0), (0.5, 0.4, 0.9)])
def test_no_batch_where_the_same_form_is_always_faster(ratios: tuple[float, ...]) -> None:
    (found,) = crossovers(sweep(ratios, (8.0, 0.125, 0.125)))
    assert (found["batch"], found["speedup_error"]) == (None, None)
    assert found["predicted_batches"] == pytest.approx([4.0])


def test_a_model_that_never_crosses_has_no_batch_of_its_own() -> None:
    (found,) = crossovers(sweep((4.0, 0.25, 0.25), (2.0, 2.0, 2.0)))
    assert (found["batch"], found["predicted_batches"], found["speedup_error"]) == (
        pytest.approx(4.0), [], pytest.approx(1.0),
    )  # fmt: skip


def test_every_crossing_is_told() -> None:
    found = crossovers(sweep((2.0, 0.5, 2.0), (2.0, 0.5, 2.0)))
    assert [c["batch"] for c in found] == pytest.approx([4.0, 64.0])
    assert [c["speedup_error"] for c in found] == pytest.approx([0.0, 0.0])
    assert found[0]["predicted_batches"] == pytest.approx([4.0, 64.0])


@pytest.mark.parametrize("ratios", [(2.0, 1.0, 0.5), (0.5, 1.0, 2.0)])
def test_a_ratio_of_exactly_1_is_a_crossing(ratios: tuple[float, ...]) -> None:
    (found,) = crossovers(sweep(ratios, ratios))
    assert found["batch"] == pytest.approx(16.0)
    assert found["predicted_batches"] == pytest.approx([16.0])


def test_two_batches_are_no_series_and_each_group_is_its_own() -> None:
    two = sweep((2.0, 0.5), (2.0, 0.5), (1, 16), group=1)
    assert crossovers(two) == []
    both = crossovers(
        [*sweep((2.0, 0.5, 0.5), (1.0,) * 3, group=5), *two, *sweep((0.5, 0.5, 2.0), (1.0,) * 3, group=6)]
    )
    assert [(c["group"], c["batch"]) for c in both] == [(5, pytest.approx(4.0)), (6, pytest.approx(64.0))]
