"""Statistics of errors on made-up results whose answers are known by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.validatecases import point, result
from validate import errors
from validate.results import Result, regime

ERRORS = (0.1, -0.2, 0.4, 0.0, -0.3)


def results(*sizes: float, **options: Any) -> list[Result]:
    """Gathers of 1 s that are off by these shares."""
    return [result(point("gather"), 1.0 + e, **options) for e in sizes]


def test_statistics_by_hand() -> None:
    found = errors.of(results(*ERRORS, noise=0.02))
    assert found["points"] == 5
    assert found["mean_abs_error"] == pytest.approx(0.2)
    assert found["median_abs_error"] == pytest.approx(0.2)
    assert found["p95_abs_error"] == pytest.approx(0.38)  # 0.8 of the way from 0.3 to 0.4
    assert found["worst"] == pytest.approx(0.4)
    assert found["bias"] == pytest.approx(0.0)
    assert found["mean_noise"] == pytest.approx(0.02)


def test_bias_has_the_sign_of_a_slow_model() -> None:
    assert errors.of(results(0.1, 0.3))["bias"] == pytest.approx(0.2)
    assert errors.of(results(-0.1, -0.3))["bias"] == pytest.approx(-0.2)


def test_errors_are_relative_to_what_was_measured() -> None:
    assert errors.of([result(point("gather"), 3e-6, measured=2e-6)])["bias"] == pytest.approx(0.5)


def test_coverage_is_the_share_of_intervals_that_hold_what_was_measured() -> None:
    assert errors.of(results(*ERRORS, width=1.25))["interval_coverage"] == pytest.approx(3 / 5)  # 1.4/1.25, 0.7*1.25
    assert errors.of(results(0.25, width=1.25))["interval_coverage"] == 1.0  # its end is within


def test_no_points_no_statistics() -> None:
    assert errors.of([]) == {"points": 0}
    assert errors.grouped([], errors.kind) == {}
    found = errors.report([])
    assert (found["points"], found["whole_ffn"], found["by_kind"]) == (0, {"points": 0}, {})
    assert found["before_calibration"] == {"points": 0, "whole_ffn": {"points": 0}}


def test_groups_are_sorted_and_hold_every_point_once() -> None:
    found = errors.grouped(results(*ERRORS), lambda r: "slow" if r.error > 0 else "fast")
    assert list(found) == ["fast", "slow"]
    assert [found[name]["points"] for name in found] == [3, 2]
    assert found["slow"]["mean_abs_error"] == pytest.approx(0.25)
    assert found["fast"]["mean_abs_error"] == pytest.approx(0.5 / 3)


MIB = 1 << 20
KINDS = [
    (point("gemm_ffn"), "GEMM FFN, onednn", "few tokens"),
    (point("gemm_ffn", 9, library="openblas"), "GEMM FFN, openblas", "many tokens"),
    (point("bh4"), "BH4", "all"),
    (point("code_score"), "code+score", "all"),
    (point("lookup_ffn"), "LookupFFN", "elsewhere"),
    (point("lookup_ffn", tables=512, rows=512), "LookupFFN", "around the last level"),  # 16 MiB
    (point("gather"), "gather, elsewhere", "elsewhere"),
    (point("gather", tables=6, rows=MIB, columns=1), "gather, around the last level", "around the last level"),
    (point("gather", tables=48, rows=MIB, columns=1), "gather, around the last level", "around the last level"),
    (point("gather", tables=49, rows=MIB, columns=1), "gather, elsewhere", "elsewhere"),
    (point("gather", tables=8, rows=MIB // 4, columns=1, layers=3), "gather, around the last level", "around the last level"),
    (point("gather", tables=5, rows=MIB, columns=1), "gather, elsewhere", "elsewhere"),
]  # fmt: skip


@pytest.mark.parametrize(("p", "kind", "where"), KINDS, ids=[str(i) for i in range(len(KINDS))])
def test_kinds_and_regimes(p: Any, kind: str, where: str) -> None:
    assert errors.kind(result(p, 1.0)) == kind
    assert regime(p) == where


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (1, "B <= 8"), (8, "B <= 8"), (9, "B <= 64"), (64, "B <= 64"), (65, "B <= 512"), (512, "B <= 512"), (513, "B > 512"),
    ],
)  # fmt: skip
def test_batches_in_words(batch: int, words: str) -> None:
    assert errors.batch_class(batch) == words


def mixed() -> list[Result]:
    """One point of each kind, off by 10, 20, ... % now and by 100 % before."""
    points = [
        point("lookup_ffn", 4), point("gemm_ffn", 4), point("gemm_ffn", 100, 2, library="openblas"), point("gather", 600, 2),
        point("bh4", residency="model", layers=2), point("code_score", 64),
    ]  # fmt: skip
    return [result(p, 1.0 + n / 10, before=2.0) for n, p in enumerate(points, 1)]


def test_whole_ffns_are_look_up_and_the_library_of_the_spec() -> None:
    found = mixed()
    assert errors.whole(found) == found[:2]


BREAKDOWNS: dict[str, Callable[[Result], bool]] = {
    "by_kind GEMM FFN, openblas": lambda r: r.point.library == "openblas",
    "by_operator gemm_ffn": lambda r: r.point.operator == "gemm_ffn",
    "by_dtype lookup_ffn bf16/int8": lambda r: r.point.operator == "lookup_ffn",
    "by_threads 1 thread": lambda r: r.point.threads == 1,
    "by_threads 2 threads": lambda r: r.point.threads == 2,
    "by_batch gather B > 512": lambda r: r.point.operator == "gather",
    "by_residency bh4 model": lambda r: r.point.operator == "bh4",
    "by_regime gemm_ffn, many tokens, 2 thread(s)": lambda r: r.point.library == "openblas",
}


@pytest.mark.parametrize("name", BREAKDOWNS)
def test_breakdowns_hold_the_statistics_of_their_own_points(name: str) -> None:
    table, _, group = name.partition(" ")
    assert errors.report(mixed())[table][group] == errors.of([r for r in mixed() if BREAKDOWNS[name](r)])


def test_every_breakdown_holds_every_point_once() -> None:
    found = errors.report(mixed())
    tables = [name for name in found if name.startswith("by_")]
    assert len(tables) == 7
    for name in tables:
        assert sum(entry["points"] for entry in found[name].values()) == 6, name


def test_before_calibration_counts_the_other_prediction() -> None:
    found = errors.report(mixed())
    assert found["mean_abs_error"] == pytest.approx(0.35)
    assert found["whole_ffn"]["mean_abs_error"] == pytest.approx(0.15)
    before = found["before_calibration"]
    assert (before["mean_abs_error"], before["points"]) == (pytest.approx(1.0), 6)
    assert (before["whole_ffn"]["mean_abs_error"], before["whole_ffn"]["points"]) == (pytest.approx(1.0), 2)
