"""Timelines: exact times, the fields that the Trace Event Format asks for, the same bytes every time."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simulator.timeline import Sample, Slice, Timeline, Track, encoded, microseconds

CORE, CHANNEL = Track("cores", "core 0"), Track("memory", "channel 0")
SMALL = Timeline(
    slices=(
        Slice(CORE, "gather", 5, 10**7 + 1, {"lines": 3}),
        Slice(CORE, 'quote " and \u00e9', 0, 5),
        Slice(CHANNEL, "busy", 1, 2),
    ),
    samples=(Sample(CHANNEL, "queue depth (packets)", 0, 2), Sample(CHANNEL, "queue depth (packets)", 9, 0)),
    facts={"machine": "m", "batch": 8},
)


def decoded(timeline: Timeline) -> dict[str, Any]:
    """The file's JSON with decimals kept exact."""
    found: dict[str, Any] = json.loads(gzip.decompress(encoded(timeline)), parse_float=Decimal)
    return found


@given(st.integers(0, 10**18))
def test_times_are_exact(picoseconds: int) -> None:
    assert Decimal(microseconds(picoseconds)) * 10**6 == picoseconds


def test_every_slice_and_sample_comes_back() -> None:
    events = decoded(SMALL)["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    assert [(e["name"], e["ts"] * 10**6, e["dur"] * 10**6) for e in slices] == [
        ('quote " and \u00e9', 0, 5),
        ("busy", 1, 2),
        ("gather", 5, 10**7 + 1),
    ]
    assert slices[2]["args"] == {"lines": 3}
    counters = [e for e in events if e["ph"] == "C"]
    assert [(e["ts"] * 10**6, e["args"]) for e in counters] == [
        (0, {"queue depth (packets)": 2}),
        (9, {"queue depth (packets)": 0}),
    ]


def test_tracks_are_named_once_and_events_lie_on_them() -> None:
    events = decoded(SMALL)["traceEvents"]
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert sorted(threads.values()) == ["channel 0", "core 0"]
    processes = [e["args"]["name"] for e in events if e["name"] == "process_name"]
    assert processes == ["cores", "memory"]
    assert all((e["pid"], e["tid"]) in threads for e in events if e["ph"] in "XC")


def test_facts_and_unit_are_kept() -> None:
    found = decoded(SMALL)
    assert found["otherData"] == {"machine": "m", "batch": 8}
    assert found["displayTimeUnit"] == "ns"


def test_an_empty_timeline_is_still_a_file() -> None:
    assert decoded(Timeline((), ()))["traceEvents"] == []


def test_bytes_are_the_same_every_time() -> None:
    assert encoded(SMALL) == encoded(SMALL)
    assert encoded(SMALL)[4:8] == b"\0\0\0\0"  # no date
