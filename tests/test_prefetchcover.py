"""Prefetch cover in closed form: held to the trace simulator, to small timelines and to orderings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cachegeometry import PrefetcherGeometry
from simulator.prefetchcover import Cover, runs_cover, share_after, walk_cover
from tests.benchmemory_locality import COVER_GOAL_MEAN, COVER_GOAL_P95, cover_summary
from tests.prefetchcases import prefetch_cases, prefetch_outcome

KINDS = ("stream", "stride", "adjacent")


def prefetcher(kind: str, degree: int = 2, distance: int = 8) -> PrefetcherGeometry:
    """Of the first level."""
    return PrefetcherGeometry(kind, 0, degree, distance)  # type: ignore[arg-type]


def test_cover_agrees_with_the_trace_simulator_on_thirty_cases() -> None:
    records = {
        (r["kind"], r["figure"]): r for r in cover_summary(prefetch_outcome(c) for c in prefetch_cases(30, seed=7))
    }
    found = records["all prefetchers", "covered"]
    assert found["mean_points"] <= COVER_GOAL_MEAN, found
    assert found["p95_points"] <= COVER_GOAL_P95, found
    assert records["all prefetchers", "unused"]["mean_points"] <= 1.5


@pytest.mark.parametrize(
    ("kind", "run_bytes", "apart", "expected"),
    [
        # Sixteen rows of four lines a page: lines 2 and 3 covered; two lines fetched beyond all but the page's last row.
        ("stream", 256, 256, Cover(0.5, 2 * 15 / 16 / 4)),
        ("stream", 64, 64, Cover(0.0, 0.0)),
        ("stream", 4096, 4096, Cover(62 / 64, 0.0)),
        ("stride", 256, 256, Cover(0.25, 0.5)),
        ("adjacent", 256, 256, Cover(0.5, 0.0)),
        ("adjacent", 64, 64, Cover(0.0, 1.0)),
        # Three lines, begun at an even or an odd one: one pair inside, one line of another pair.
        ("adjacent", 192, 192, Cover(1 / 3, 1 / 3)),
    ],
)
def test_rows_of_an_endless_table(kind: str, run_bytes: int, apart: int, expected: Cover) -> None:
    found = runs_cover(prefetcher(kind, distance=2), run_bytes, apart)
    assert (found.covered, found.unused) == pytest.approx((expected.covered, expected.unused))


def test_walks() -> None:
    assert walk_cover(prefetcher("stream"), 64, 64_000).covered == pytest.approx(62 / 64)
    assert walk_cover(prefetcher("stream"), 256, 1000) == Cover(0.0, 0.0)  # never two neighbouring lines
    assert walk_cover(prefetcher("stride", 3), 256, 1000) == Cover(pytest.approx(0.997), pytest.approx(0.003))
    assert walk_cover(prefetcher("adjacent"), 256, 1000) == Cover(0.0, 1.0)
    assert walk_cover(prefetcher("adjacent"), 8, 8000).covered == pytest.approx(0.5)  # a sweep
    assert walk_cover(prefetcher("stride"), 2080, 1000).covered == 0.0  # 32 and 33 lines in turn


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 8),
    st.integers(1, 32),
    st.integers(8, 600),
    st.integers(0, 9),
    st.floats(0.0, 0.5),
)
def test_cover_is_a_share_and_a_longer_aligned_row_is_covered_no_worse(
    kind: str, degree: int, distance: int, words: int, gap: int, held: float
) -> None:
    found = runs_cover(prefetcher(kind, degree, distance), 8 * words, 8 * (words + gap), 1e9, held * 1e9)
    assert 0.0 <= found.covered <= 1.0
    assert 0.0 <= found.unused <= max(degree + distance, 1)
    short, long = (runs_cover(prefetcher(kind, degree, distance), size, size).covered for size in (256, 512))
    assert long >= short


def test_a_share_after_training() -> None:
    assert share_after(4.0, 1.0) == 0.75
    assert share_after(1.0, 2.0) == 0.0
