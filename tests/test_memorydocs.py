"""docs/memory-model.md shows the stored run of `make bench-memory`, and that run is whole and within its figures."""

from __future__ import annotations

from tests.benchmemory import PARTS
from tests.memorydocs import GENERATED, PAGE, refreshed, stored


def test_the_page_shows_the_stored_run() -> None:
    text = PAGE.read_text()
    assert refreshed(text) == text
    assert {match[1] for match in GENERATED.findall(text)} == set(PARTS)
    assert stored()["date"] in text


def test_the_stored_run_has_every_part_and_its_host() -> None:
    run = stored()
    assert set(run["parts"]) == set(PARTS)
    assert {"processor", "logical_cpus", "python_version"} <= set(run["host"])


def test_the_trace_simulator_reached_its_speeds() -> None:
    rows = {row["stream"]: row for row in stored()["parts"]["trace"]["rows"] if row["goal"]}
    assert len(rows) == 4
    assert all(row["million_accesses_per_second_best"] >= row["goal"] for row in rows.values())


def test_cachegrind_agreed_within_a_percent() -> None:
    found = stored()["parts"]["cachegrind"]
    assert found["rows"]
    assert max(found["worst"].values()) <= 0.01
