"""docs/kernels.md and README.md show the stored measurements, and these are whole."""

from __future__ import annotations

from tests.kerneldocs import GENERATED, GOALS, PAGES, PARTS, ratio, refreshed, stored


def test_pages_show_the_stored_runs() -> None:
    shown: set[str] = set()
    for page in PAGES:
        text = page.read_text()
        shown |= {match[1] for match in GENERATED.findall(text)}
        assert refreshed(text) == text
    assert shown == set(PARTS)


def test_the_stored_comparison_is_complete_and_consistent() -> None:
    record = stored("compare")
    assert record["complete"]
    assert record["settings"]["batches"] == [1, 8, 64, 512, 4096]
    assert len(record["groups"]) == 15
    for row in record["ratios"]:
        assert abs(row["speedup"] - row["gemm_seconds_median"] / row["seconds_median"]) < 1e-9 * row["speedup"]
    clocks = [record[f"clock_hertz_{when}"]["median"] for when in ("before", "after")]
    assert max(clocks) < 1.05 * min(clocks)


def test_look_up_in_fp32_beats_its_own_precision_at_every_batch() -> None:
    record = stored("compare")
    for batch in record["settings"]["batches"]:
        for ours, theirs in GOALS:
            assert ratio(record, ours, theirs, batch, "model", 1) > 1.0


def test_stored_stages_lie_within_their_bounds() -> None:
    for stage in stored("stages")["stages"]:
        assert 0.0 < stage["share_of_bound"] < 1.05
