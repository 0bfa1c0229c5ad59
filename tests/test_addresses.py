"""Address streams of the schedules: every access in its array, counts in closed form, draws alike in NumPy and numba."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simulator.addresses import Segment, gather_streams, stream_name
from simulator.addresses_gemm import gemm_layers
from simulator.addresses_lookup import lookup_layers
from simulator.addressmap import AddressMap
from simulator.addresstasks import NUMBER, Program
from simulator.rowindices import draw_rows, recorded_rows, rows_of, thresholds
from simulator.schedule import SPLIT_COLUMNS, SPLIT_TABLES, SPLIT_TOKENS, UNBOUNDED, GemmSchedule, LookupSchedule
from simulator.workload import GemmFfn, IndexDistribution, LookupFfn, unique_rows

OP = LookupFfn(hidden=128, output=128, tables=16, rows=64, block=64, projection="bh4")
NESTS = {
    "V1": LookupSchedule(UNBOUNDED, 1.0, UNBOUNDED, SPLIT_TOKENS, 0.0, 1.0),
    "V2": LookupSchedule(1.0, UNBOUNDED, 64.0, SPLIT_TOKENS, 0.0, 1.0),
    "V3": LookupSchedule(16.0, 4.0, UNBOUNDED, SPLIT_TOKENS, 0.0, 1.0),
    "V4": LookupSchedule(64.0, 16.0, UNBOUNDED, SPLIT_COLUMNS, 0.0, 1.0),
    "V5": LookupSchedule(64.0, UNBOUNDED, UNBOUNDED, SPLIT_TABLES, 0.0, 1.0),
}
ROWS = NUMBER["gather", "table_rows"]


def collect(op: Any, schedule: Any, batch: int, threads: int = 1, layers: int = 1, **options: Any) -> list[Segment]:
    """All segments of one generation."""
    return list(gather_streams(op, schedule, batch, threads, layers, **options))


def counts(segments: list[Segment]) -> Counter[str]:
    """Accesses by stream; stores have a '!' behind the name."""
    found: Counter[str] = Counter()
    for s in segments:
        for mark, chosen in (("", s.streams[~s.writes]), ("!", s.streams[s.writes])):
            for stream, many in enumerate(np.bincount(chosen, minlength=1)):
                if many:
                    found[stream_name(stream) + mark] += int(many)
    return found


@pytest.mark.parametrize("name", NESTS)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_row_is_read_once_a_token_and_every_output_is_written(name: str, threads: int) -> None:
    batch, layers = 50, 2
    segments = collect(OP, NESTS[name], batch, threads, layers, seed=4)
    found = counts(segments)
    assert found["gather table_rows"] == batch * layers * 16 * (128 * 4 // 64)
    read = np.concatenate([s.addresses[s.streams == ROWS] for s in segments if s.layer == 1])
    expected = sum(len(np.unique(column)) for column in draw_rows(OP, batch, seed=4, layer=1).T) * 8
    assert len(np.unique(read)) == expected
    groups = {"V1": 16, "V2": 1, "V3": 4, "V4": 1, "V5": -(-16 // 4)}[
        name
    ]  # V5: shards of four tables, each with own sums
    assert found["gather accumulators!"] == batch * layers * 8 * groups
    starts = 1  # the first group begins at the bias
    assert found["gather accumulators"] == batch * layers * 8 * (groups - starts if name != "V5" else 0)
    assert found["gather bias"] == batch * layers * 8


@pytest.mark.parametrize("name", [*NESTS, "dense", "int8"])
def test_every_access_lies_in_an_array_and_arrays_are_disjoint(name: str) -> None:
    op = {
        "dense": replace(OP, projection="dense"),
        "int8": replace(OP, table_dtype="int8", projection_dtype="int16"),
    }.get(name, OP)
    schedule, space = NESTS.get(name, NESTS["V3"]), AddressMap()
    program = Program(30, 2, 2, 0, 1, 5000.0)
    next(lookup_layers(op, schedule, program, space), None)
    starts, sizes = np.array([a[1] for a in space.arrays]), np.array([a[2] for a in space.arrays])
    assert np.all(starts[1:] >= starts[:-1] + sizes[:-1])
    assert np.all(starts % 4096 == 0)
    assert np.all(starts[sizes >= 1 << 21] % (1 << 21) == 0)
    names = np.array([a[0].split(" of ")[0] for a in space.arrays])
    where = {"gather table_rows": "tables", "projection projection_weights": "projection weights",
             "gather bias": "output bias", "layer_norm parameters": "layer norm"}  # fmt: skip
    for s in collect(op, schedule, 30, 2, 2, evicted_bytes=5000.0, access_bytes=8):
        at = s.addresses.astype(np.int64)
        place = np.searchsorted(starts, at, side="right") - 1
        # Where a run ends inside a piece, the piece that holds its last byte is touched.
        assert np.all(at < starts[place] + sizes[place])
        for stream in np.unique(s.streams):
            if stream_name(stream) in where:
                assert set(names[place[s.streams == stream]]) == {where[stream_name(stream)]}


def test_elements_and_lines_touch_the_same_memory() -> None:
    for op, schedule in ((OP, NESTS["V3"]), (GemmFfn(64, 128), GemmSchedule(16.0, 2.0, 0.0))):
        by_line, by_element = (collect(op, schedule, 20, 2, access_bytes=size) for size in (64, 8))
        for core in range(2):
            seen = []
            for segments in (by_line, by_element):
                lines = np.concatenate([s.addresses // 64 for s in segments if s.core == core])
                streams = np.concatenate([s.streams for s in segments if s.core == core])
                changed = np.flatnonzero(np.diff(lines.astype(np.int64)) | np.diff(streams.astype(np.int64)))
                seen.append(np.stack([lines, streams])[:, [*changed, -1]])
            assert set(map(tuple, seen[0].T)) == set(map(tuple, seen[1].T))
        assert counts(by_element).total() > 5 * counts(by_line).total()


def test_rounds_hold_the_barriers_apart_and_chunks_do_not_change_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collect(OP, NESTS["V5"], 60, 2, 2)
    for s in whole:
        assert s.core in (0, 1)
    rounds = [s.round for s in whole]
    assert rounds == sorted(rounds)
    reducing = {s.round for s in whole if stream_name(int(s.streams[0])).startswith("reduction")}
    gathering = {s.round for s in whole if np.any(s.streams == ROWS)}
    assert reducing
    assert not reducing & gathering
    monkeypatch.setattr("simulator.addresses.CHUNK_ACCESSES", 777)
    pieces = collect(OP, NESTS["V5"], 60, 2, 2)
    assert len(pieces) > 2 * len(whole)
    for core in (0, 1):
        for field in ("addresses", "streams", "writes"):
            one, many = (np.concatenate([getattr(s, field) for s in g if s.core == core]) for g in (whole, pieces))
            assert np.array_equal(one, many)


def test_projection_weights_are_streamed_once_a_group_of_tokens() -> None:
    weights = 2 * 4 * 64 * 64 * 4 // 64  # one repeat, four stages of two blocks
    for batch, groups in ((1, 1), (6, 1), (7, 2), (12, 2), (48, 12)):  # six at a time; from 24 on twelve in fours
        found = counts(collect(OP, NESTS["V2"], batch))
        assert found["projection projection_weights"] == groups * weights


def test_gemm_reads_weights_once_a_token_block_and_group() -> None:
    op, batch = GemmFfn(hidden=128, intermediate=256), 48
    for block, splits, threads, sixes in (
        (UNBOUNDED, 1.0, 1, 8),
        (UNBOUNDED, 4.0, 4, 8),
        (6.0, 1.0, 2, 8),
        (12.0, 2.0, 4, 8),
    ):
        segments = collect(op, GemmSchedule(block, splits, 0.0), batch, threads, 2)
        found = counts(segments)
        for phase in ("gemm_up", "gemm_down"):
            assert found[f"{phase} weights"] == 2 * sixes * 128 * 256 * 4 // 64
        assert found["gemm_up outputs!"] == 2 * batch * 256 * 4 // 64
        assert found["gemm_down outputs!"] == 2 * batch * 128 * 4 // 64
        lines = np.concatenate([s.addresses[s.streams == NUMBER["gemm_up", "weights"]] for s in segments])
        assert len(np.unique(lines)) == 2 * 128 * 256 * 4 // 64
    gated = counts(collect(replace(op, gated=True), GemmSchedule(UNBOUNDED, 1.0, 0.0), 6))
    assert gated["gemm_up weights"] == 2 * gated["gemm_down weights"]


@pytest.mark.parametrize("indices", [IndexDistribution(), IndexDistribution("zipf", 0.8), IndexDistribution("zipf", 1.2),
                                     IndexDistribution("histogram", histogram=(1.0, 0.0, 3.0, *[0.5] * 61))])  # fmt: skip
def test_rows_come_from_raw_words_alike_in_numpy_and_numba(indices: IndexDistribution) -> None:
    ends = thresholds(indices, 64)
    words = np.random.PCG64(9).random_raw(40_000).astype(np.uint64)
    found = np.empty((10_000, 4), dtype=np.uint32)
    rows_of(words, ends, 0, 4, np.ones(4, np.int64), np.zeros(4, np.int64), found)
    assert np.array_equal(found.ravel(), np.searchsorted(ends, words >> np.uint64(32), side="right"))
    assert found.max() < 64
    op = replace(OP, indices=indices, tables=64)
    distinct = np.mean([len(np.unique(column)) for column in draw_rows(op, 100, seed=1).T])
    assert distinct == pytest.approx(unique_rows(indices, 64, 100), rel=0.05)


def test_calls_and_layers_draw_apart_and_a_seed_repeats() -> None:
    base = draw_rows(OP, 20, 5)
    assert np.array_equal(base, draw_rows(OP, 20, 5))
    assert not np.array_equal(base, draw_rows(OP, 20, 5, layer=1))
    assert not np.array_equal(base, draw_rows(OP, 20, 5, call=1))
    assert not np.array_equal(base, draw_rows(OP, 20, 6))
    assert base[0, :4].tolist() == [36, 16, 3, 34]  # on every host
    zipf = draw_rows(replace(OP, indices=IndexDistribution("zipf", 1.0)), 20, 5)
    assert zipf[0, :4].tolist() == [21, 49, 27, 9]


def test_recorded_rows_are_taken_as_they_are() -> None:
    recorded = np.arange(3 * 16, dtype=np.int64).reshape(3, 16)
    assert np.array_equal(recorded_rows(OP, recorded, 4), recorded[[0, 1, 2, 0]])
    segments = collect(OP, NESTS["V2"], 3, recorded=recorded)
    read = np.concatenate([s.addresses[s.streams == ROWS] for s in segments]).astype(np.int64)
    assert len(read) == 3 * 16 * 8
    for bad in (np.zeros((3, 15), int), np.zeros((3, 16)), np.full((2, 16), 64), np.full((2, 16), -1)):
        with pytest.raises(ValueError, match="recorded rows must be"):
            recorded_rows(OP, bad, 4)


def test_what_cannot_be_generated_is_refused() -> None:
    with pytest.raises(ValueError, match="batch must be a whole number"):
        gather_streams(OP, NESTS["V1"], 0)
    with pytest.raises(ValueError, match="access_bytes must be a power of two"):
        gather_streams(OP, NESTS["V1"], 1, access_bytes=24)
    with pytest.raises(ValueError, match="GemmSchedule does not execute a LookupFfn"):
        gather_streams(OP, GemmSchedule(1.0, 1.0, 0.0), 1)
    assert next(iter(gemm_layers(GemmFfn(64, 64), GemmSchedule(1.0, 1.0, 0.0), Program(1, 1, 1, 0, 1, 0.0)))).layer == 0
