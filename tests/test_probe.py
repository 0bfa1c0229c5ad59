"""The microbenchmarks: that they visit what they say, and that their numbers stand in the order that any machine keeps.

Margins are wide: tests run beside each other and beside strangers.
"""

from __future__ import annotations

import ctypes
import json
import statistics
from typing import Any

import numpy as np
import pytest

from kernels import probe
from kernels.build import BuildError, find_compiler
from kernels.library import I64, POINTER, function, runnable
from kernels.peak import LATENCIES, RATES, peak_probes, rate
from kernels.probe import (
    HUGE_PAGE,
    KIB,
    LINE,
    MIB,
    QUICK,
    SMALL_PAGE,
    Shape,
    allocate,
    index_list,
    measure,
    memory_probes,
)
from kernels.probetables import sharing_tables
from kernels.sharing import SharingTask, shared_line, sharing_probes
from kernels.timing import MemoryTask, clock_hertz, rounds, spread, usable_cpus


def missing(isas: str) -> str:
    """Why compiled probes cannot run here, or ''."""
    try:
        find_compiler()
    except BuildError as error:
        return str(error)
    names = {v.isa_name for v in runnable("memory")}
    return "" if names & set(isas.split()) else f"this CPU has none of {isas}"


needs_compiler = pytest.mark.skipif(bool(missing("scalar")), reason=missing("scalar") or "-")
needs_vectors = pytest.mark.skipif(bool(missing("avx2 avx512")), reason=missing("avx2 avx512") or "-")
needs_avx512 = pytest.mark.skipif(bool(missing("avx512")), reason=missing("avx512") or "-")


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """One quick run."""
    return memory_probes(quick=True)


@pytest.fixture(scope="module")
def peaks() -> dict[str, Any]:
    """One run of the in-core probes."""
    return peak_probes()


def points(record: dict[str, Any], kind: str, **wanted: int) -> dict[int, float]:
    """Footprint -> median of the points of a kind, on one page size."""
    page = record["points"][0]["page_bytes"]
    wanted = {"threads": 1, "page_bytes": page, **wanted}
    number = "latency_seconds" if kind == "chase" else "bytes_per_second"
    return {
        p["footprint_bytes"]: p[number]["median"]
        for p in record["points"]
        if p["kind"] == kind and all(p[key] == value for key, value in wanted.items())
    }


@needs_compiler
@pytest.mark.parametrize("lines", [1, 2, 3, 64, 4096])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_chase_visits_every_line_exactly_once(lines: int, seed: int) -> None:
    region = allocate(HUGE_PAGE, SMALL_PAGE)
    assert function("memory", "memory_link")(POINTER(region.address), I64(lines * LINE), I64(seed)) == 0
    visits = function("memory", "memory_visits")
    visits.restype = ctypes.c_int64
    assert visits(POINTER(region.address), I64(lines * LINE)) == lines


@needs_compiler
def test_a_chase_goes_on_where_the_round_before_ended() -> None:
    region = allocate(HUGE_PAGE, SMALL_PAGE)
    assert function("memory", "memory_link")(POINTER(region.address), I64(100 * LINE), I64(1)) == 0
    task = MemoryTask(data=region.address, bytes=100 * LINE, count=60)
    _, done = rounds(function("memory", "memory_chase"), [task], usable_cpus(), 1)
    assert done == [60]
    assert task.cursor != 0
    task.count = 40
    rounds(function("memory", "memory_chase"), [task], usable_cpus(), 1)
    assert task.cursor == 0


@pytest.mark.parametrize("row", [64, 512, 8192])
def test_random_rows_lie_inside_the_footprint_and_cover_it(row: int) -> None:
    shape = Shape("rows", 256 * KIB, 1, row)
    lines = index_list(shape, 0)
    assert lines.max() * LINE + row <= shape.footprint_bytes
    assert not (lines * LINE % row).any()
    assert len(np.unique(lines)) > 0.85 * shape.footprint_bytes / row
    length = len(lines) - probe.LIST_PADDING
    assert (lines[length:] == np.resize(lines[:length], probe.LIST_PADDING)).all()


@needs_vectors
@pytest.mark.parametrize("kind", ["read", "write", "write_streaming", "update", "copy", "rows", "rows_work"])
def test_rounds_count_the_bytes_that_they_move(kind: str) -> None:
    region = allocate(HUGE_PAGE, SMALL_PAGE)
    lines = index_list(Shape("rows", 64 * KIB, 1, 512), 0)
    task = MemoryTask(region.address, 64 * KIB, lines.ctypes.data, len(lines) - probe.LIST_PADDING, 0, 3, 512, 0, 1)
    for isa in ("avx2", None):
        _, done = rounds(function("memory", probe.SYMBOLS[kind], isa), [task], usable_cpus(), 2)
        each = {"rows": 512, "rows_work": 512, "update": 128 * KIB}.get(kind, 64 * KIB)
        assert done == [3 * each, 3 * each]


@needs_vectors
@pytest.mark.parametrize("isa", ["avx2", None])
def test_a_copy_copies_and_an_update_leaves_its_data(isa: str | None) -> None:
    region = allocate(HUGE_PAGE, SMALL_PAGE)
    data = np.frombuffer((ctypes.c_uint8 * (64 * KIB)).from_address(region.address), np.uint8)
    data[:] = np.random.default_rng(1).integers(0, 256, data.size)
    first = data[: data.size // 2].copy()
    task = MemoryTask(data=region.address, bytes=data.size, count=1)
    for symbol in ("memory_update", "memory_copy"):
        rounds(function("memory", symbol, isa), [task], usable_cpus(), 1)
    assert (data[: data.size // 2] == first).all()
    assert (data[data.size // 2 :] == first).all()


@needs_vectors
def test_a_row_size_that_is_not_there_is_refused() -> None:
    region = allocate(HUGE_PAGE, SMALL_PAGE)
    with pytest.raises(probe.KernelError, match="192"):
        measure(Shape("rows", 96 * KIB, 1, 192), region, QUICK, usable_cpus())
    with pytest.raises(ValueError, match="do not fit"):
        measure(Shape("read", 4 * MIB), region, QUICK, usable_cpus())


def test_huge_pages_are_verified_or_reported() -> None:
    region = allocate(8 * MIB, HUGE_PAGE)
    assert region.verified == (region.huge_bytes >= 0.95 * region.region_bytes)
    small = allocate(8 * MIB, SMALL_PAGE)
    assert small.huge_bytes == 0
    assert small.verified


@needs_vectors
def test_the_quick_set_keeps_its_budget_and_is_json(record: dict[str, Any]) -> None:
    assert json.loads(json.dumps(record)) == record
    assert record["elapsed_seconds"] < 15
    assert record["points"]
    assert record["port_bound_reached"] == (record["bytes_per_cycle"] >= record["needed_bytes_per_cycle"])
    assert 0.2e9 < record["clock_hertz_before"]["median"] < 8e9


@needs_vectors
def test_every_page_size_is_verified_or_has_no_points(record: dict[str, Any]) -> None:
    measured = {p["page_bytes"] for p in record["points"]}
    for page in record["pages"]:
        if page["requested_page_bytes"] == HUGE_PAGE and not page["verified"]:
            assert HUGE_PAGE not in measured
    assert measured <= {SMALL_PAGE, HUGE_PAGE, 0}


@needs_vectors
def test_memory_is_slower_than_caches(record: dict[str, Any]) -> None:
    chase = points(record, "chase")
    if record["points_left_out"]:
        pytest.skip("the host was too slow for the budget")
    assert chase[16 * KIB] < chase[256 * KIB] < chase[128 * MIB]
    assert 3 * chase[16 * KIB] < chase[128 * MIB]
    assert 1e-10 < chase[16 * KIB] < 2e-8
    read = points(record, "read")
    assert read[16 * KIB] > 1.5 * read[128 * MIB]
    rows = points(record, "rows", row_bytes=64, prefetch_bytes=0)
    assert rows[16 * KIB] > 2 * rows[128 * MIB]


@needs_vectors
def test_work_on_lines_costs_bandwidth_and_prefetch_gives_it_back(record: dict[str, Any]) -> None:
    if record["points_left_out"]:
        pytest.skip("the host was too slow for the budget")
    by_work = {k: points(record, "rows_work", fmas_per_line=k, prefetch_bytes=0)[128 * MIB] for k in (1, 16)}
    assert by_work[16] < by_work[1]
    assert points(record, "rows_work", fmas_per_line=16, prefetch_bytes=4 * KIB)[128 * MIB] > by_work[16]


@needs_compiler
def test_the_peak_record_is_json_and_names_what_is_missing(peaks: dict[str, Any]) -> None:
    assert json.loads(json.dumps(peaks)) == peaks
    there = {r["name"] for r in peaks["rates"]} | {r.symbol for r in RATES if r.symbol in peaks["missing"]}
    assert len(there) == len(RATES)
    assert len(peaks["latencies"]) + sum(r.symbol in peaks["missing"] for r in LATENCIES) == len(LATENCIES)
    for cost in peaks["threads"]:
        assert cost["barrier_seconds"]["median"] < 1e-2
        assert 1e-7 < cost["start_seconds"]["median"] < 1


@needs_avx512
def test_instruction_rates_are_those_of_a_processor(peaks: dict[str, Any]) -> None:
    per_cycle = {r["name"]: r["per_cycle"]["median"] for r in peaks["rates"]}
    assert 0.6 < per_cycle["fma_fp32"] < 2.6
    assert 0.6 < per_cycle["add_int"] < 6
    assert per_cycle["divide"] < per_cycle["fma_fp32"]
    assert per_cycle["exp_vectors"] < 0.5
    cycles = {r["name"]: r["latency_cycles"]["median"] for r in peaks["latencies"]}
    assert 2.5 < cycles["fma_fp32"] < 8


@needs_avx512
def test_independent_instructions_overlap() -> None:
    cpu = usable_cpus()[0]
    chain = rate(LATENCIES[0], cpu).per_cycle.median
    assert rate(RATES[0], cpu).per_cycle.median > 2 * chain


@needs_compiler
def test_the_clock_is_the_same_twice() -> None:
    cpu = usable_cpus()[0]
    clocks = [clock_hertz(cpu).median for _ in range(5)]
    assert 0.5 < clocks[0] / statistics.median(clocks) < 2


def test_a_spread_is_median_minimum_and_quartile_distance() -> None:
    found = spread([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (found.median, found.minimum, found.iqr, found.repeats) == (3.0, 1.0, 2.0, 5)
    assert spread([7.0]).iqr == 0.0


def test_a_line_goes_round_and_counts_exactly() -> None:
    cpus = usable_cpus()[:2]
    owner, line = shared_line()
    value = owner[line - owner.ctypes.data :][:8].view(np.int64)
    for symbol in ("sharing_token", "sharing_count"):
        value[0] = 0
        tasks = [SharingTask(line, thread, len(cpus), 500, 3) for thread in range(len(cpus))]
        _, done = rounds(function("sharing", symbol), tasks, cpus, 3)
        assert done == [500 * len(cpus)] * 3
        assert value[0] == 3 * 500 * len(cpus)


def test_sharing_probes_give_a_record_of_every_pair() -> None:
    record = sharing_probes(quick=True)
    cpus = record["cpus"]
    assert {tuple(p["cpus"]) for p in record["hand_overs"]} >= {(cpus[0], other) for other in cpus[1:]}
    assert record["counters"][0]["threads"] == 1
    assert all(0 < c["seconds"]["minimum"] <= c["seconds"]["median"] for c in record["counters"])
    for table in sharing_tables(record):
        assert table.row_count > 0 or len(cpus) == 1
    json.dumps(record)
