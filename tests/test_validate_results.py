"""From the rounds of a campaign to measured points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.validatecases import point, result
from validate.points import Point, record_of
from validate.results import measured_points


def group(number: int, points: list[Point]) -> dict[str, Any]:
    return {"record": "group", "group": number, "points": [record_of(p) for p in points], "repeats": [1] * len(points)}


def one_round(number: int, seconds: list[float], **fields: Any) -> dict[str, Any]:
    return {"record": "round", "group": number, "seconds": seconds, "drifted": False, "repeated": False, **fields}


A, B, C = point("gather"), point("bh4"), point("gemm_ffn")


def test_a_point_is_the_median_of_its_rounds() -> None:
    lines = [{"record": "campaign"}, group(0, [A, B])]
    lines += [one_round(0, [s, 10.0 * s]) for s in (2.0, 1.0, 9.0, 1.5, 3.0)]
    first, second = measured_points([*lines, {"record": "end"}])
    assert (first.point, first.group, first.seconds, first.rounds) == (A, 0, 2.0, 5)
    assert (second.point, second.seconds) == (B, 20.0)
    assert first.spread == second.spread == pytest.approx((3.0 - 1.5) / 2.0)


def test_repeated_rounds_are_not_counted_and_drifted_ones_are() -> None:
    lines = [group(0, [A])] + [one_round(0, [1.0]) for _ in range(3)]
    again = one_round(0, [50.0], drifted=True, repeated=True)
    (found,) = measured_points([lines[0], again, again, *lines[1:], again, one_round(0, [2.0], drifted=True)])
    assert (found.seconds, found.rounds, found.drifted) == (1.0, 4, 1)
    assert measured_points([*lines, again, again]) == measured_points(lines)
    assert found.spread > 0.0


def test_groups_come_in_their_order_each_with_its_own_rounds() -> None:
    lines = [
        group(3, [B, A]), one_round(3, [4.0, 5.0]), group(1, [C]), one_round(1, [6.0]), one_round(3, [4.0, 5.0]),
    ]  # fmt: skip
    assert [(m.group, m.point, m.seconds, m.rounds) for m in measured_points(lines)] == [
        (3, B, 4.0, 2), (3, A, 5.0, 2), (1, C, 6.0, 1),
    ]  # fmt: skip


def test_what_was_never_timed_is_no_point() -> None:
    assert measured_points([]) == []
    assert measured_points([group(0, [A])]) == []
    assert measured_points([group(0, [A]), one_round(0, [1.0], repeated=True, drifted=True)]) == []


@pytest.mark.parametrize("rounds", [7, 11, 21])
def test_noise_is_what_medians_of_as_many_rounds_are_off_by(rounds: int) -> None:
    """4000 points that take 1 s, give or take 4 %: nine medians of ten lie within the noise that is stated of them."""
    random = np.random.default_rng(rounds)
    samples = random.normal(1.0, 0.04, (rounds, 4000))
    found = measured_points([group(0, [A] * 4000), *(one_round(0, list(row)) for row in samples)])
    off = np.quantile([abs(m.seconds - 1.0) for m in found], 0.9)
    assert np.mean([m.noise for m in found]) == pytest.approx(off, rel=0.25)


def test_equal_rounds_have_no_noise() -> None:
    (found,) = measured_points([group(0, [A]), *(one_round(0, [2.0]) for _ in range(3))])
    assert (found.spread, found.noise) == (0.0, 0.0)


def test_errors_have_the_sign_of_a_slow_model() -> None:
    r = result(A, 3.0, measured=2.0, before=1.0)
    assert (r.error, r.before_error) == (0.5, -0.5)


@pytest.mark.parametrize(
    ("measured", "covered"), [(1.0, True), (1.25, True), (0.8, True), (1.26, False), (0.79, False)]
)
def test_an_interval_holds_its_ends(measured: float, covered: bool) -> None:
    assert result(A, 1.0, measured=measured, width=1.25).covered == covered
