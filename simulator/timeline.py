"""A timeline in the Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Complete events ('X') are stretches on a track, counter events ('C') are quantities over time, metadata events ('M') name
and order the tracks. Times are whole picoseconds inside and microseconds with six decimals in the file, so that nothing
is rounded; the same timeline gives the same bytes on every host.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

PICOSECONDS_PER_MICROSECOND = 10**6
COMPRESSION_LEVEL = 3
"""Half the time of the default, a few per cent larger."""


@dataclass(frozen=True)
class Track:
    """One line of the timeline: `group` ('cores', 'memory channels') is a process in the format, `name` a thread of it."""

    group: str
    name: str


@dataclass(frozen=True)
class Slice:
    """A stretch of time on a track; `details` are shown when it is selected."""

    track: Track
    name: str
    start_ps: int
    duration_ps: int
    details: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A quantity from `time_ps` on until its next sample; `quantity` names it with its unit."""

    track: Track
    quantity: str
    time_ps: int
    value: float | int


@dataclass(frozen=True)
class Timeline:
    """Slices and samples of one run; `facts` say what was run."""

    slices: tuple[Slice, ...]
    samples: tuple[Sample, ...]
    facts: dict[str, float | int | str] = field(default_factory=dict)


def microseconds(picoseconds: int) -> str:
    """Exact decimal text of whole picoseconds in microseconds."""
    whole, rest = divmod(picoseconds, PICOSECONDS_PER_MICROSECOND)
    return f"{whole}.{rest:06d}"


def encoded(timeline: Timeline, compress: bool = True) -> bytes:
    """The whole file, gzip-compressed unless `compress` is false, byte for byte the same everywhere (no name or date in it)."""
    text = "".join(_text(timeline)).encode()
    return gzip.compress(text, compresslevel=COMPRESSION_LEVEL, mtime=0) if compress else text


def _text(timeline: Timeline) -> Iterator[str]:
    places = _places(timeline)
    yield '{"displayTimeUnit":"ns","otherData":' + json.dumps(timeline.facts) + ',"traceEvents":[\n'
    separator = ""
    for event in _events(timeline, places):
        yield separator + event
        separator = ",\n"
    yield "\n]}\n"


def _places(timeline: Timeline) -> dict[Track, tuple[int, int]]:
    """(process, thread) numbers from 1 on, in order of first appearance: slices first."""
    groups: dict[str, int] = {}
    counts: dict[str, int] = {}
    places: dict[Track, tuple[int, int]] = {}
    for track in (*(s.track for s in timeline.slices), *(s.track for s in timeline.samples)):
        if track not in places:
            groups.setdefault(track.group, len(groups) + 1)
            counts[track.group] = counts.get(track.group, 0) + 1
            places[track] = (groups[track.group], counts[track.group])
    return places


def _events(timeline: Timeline, places: dict[Track, tuple[int, int]]) -> Iterator[str]:
    named: set[int] = set()
    for track, (process, thread) in places.items():
        if process not in named:
            named.add(process)
            yield _metadata("process_name", process, 0, {"name": track.group})
            yield _metadata("process_sort_index", process, 0, {"sort_index": process})
        yield _metadata("thread_name", process, thread, {"name": track.name})
        yield _metadata("thread_sort_index", process, thread, {"sort_index": thread})
    for item in sorted(timeline.slices, key=lambda s: (s.start_ps, -s.duration_ps)):
        process, thread = places[item.track]
        details = f',"args":{json.dumps(item.details)}' if item.details else ""
        yield (
            f'{{"ph":"X","name":{json.dumps(item.name)},"cat":{json.dumps(item.track.group)},"pid":{process},"tid":{thread},'
            f'"ts":{microseconds(item.start_ps)},"dur":{microseconds(item.duration_ps)}{details}}}'
        )
    for sample in sorted(timeline.samples, key=lambda s: s.time_ps):
        process, thread = places[sample.track]
        name = json.dumps(f"{sample.track.name} {sample.quantity}")
        yield (
            f'{{"ph":"C","name":{name},"pid":{process},"tid":{thread},"ts":{microseconds(sample.time_ps)},'
            f'"args":{{{json.dumps(sample.quantity)}:{json.dumps(sample.value)}}}}}'
        )


def _metadata(name: str, process: int, thread: int, value: dict[str, str | int]) -> str:
    return f'{{"ph":"M","name":"{name}","pid":{process},"tid":{thread},"args":{json.dumps(value)}}}'
