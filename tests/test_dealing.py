"""Who gets which share of a phase, against pieces dealt out one by one."""

from __future__ import annotations

import heapq
from dataclasses import replace
from itertools import product
from math import ceil

import numpy as np
import pytest

from simulator.analytic import phase_time
from simulator.dealing import deal, even
from simulator.eventplan import core_parts
from simulator.events import EventOptions, run_phases
from simulator.lowering import dealt, dealt_pieces
from simulator.phases import Access, Phase, Stream, Work
from simulator.resources import broadcastable, resolve
from simulator.specfile import load_machine


def uneven(units: float, threads: float) -> Phase:
    """A phase of so many equal pieces."""
    return Phase("phase", Work(), (), **dealt(units, threads))


@pytest.mark.parametrize("units", [1, 3, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 1000])
@pytest.mark.parametrize("threads", [1, 2, 8, 32, 100])
def test_shares_are_those_of_pieces_dealt_one_by_one(units: int, threads: int) -> None:
    pieces = np.bincount(np.arange(units) % threads, minlength=threads)
    d = deal(uneven(float(units), float(threads)), float(threads))
    assert core_parts(d, threads) == pytest.approx(list(pieces / ceil(units / threads)), abs=1e-6)
    for cores in (1, 4, 8, threads):
        if cores <= threads:
            assert d.together(float(cores)) == pytest.approx(pieces[:cores].sum() / units, abs=1e-6)


def test_many_machines_at_once_are_each_alone() -> None:
    units, threads = np.array([1.0, 65.0, 96.0, 128.0]), np.array([8.0, 64.0, 64.0, 32.0])
    together = deal(uneven(units, threads), threads)
    for i in range(4):
        alone = deal(uneven(units[i], threads[i]), threads[i])
        assert [together.full[i], together.together(8.0)[i]] == [alone.full, alone.together(8.0)]


def test_all_alike() -> None:
    assert even(16.0).together(4.0) == 0.25
    assert deal(Phase("phase", Work(), ()), 16.0).together(4.0) == 0.25


def test_idle_cores_bring_no_links() -> None:
    """32 busy cores of 128 sit on four chiplets; links of the other twelve carry nothing, in both engines."""
    r = broadcastable(resolve(load_machine("amd-epyc-9755"), 128.0))
    stream = Stream("sweep", "sequential", (Access(4e9, 1e12, 1e12),))
    phase = Phase("phase", Work(), (stream,), imbalance=4.0, workers=32.0)
    expected = 4e9 / (4 * r.link_bytes_per_second)
    assert float(phase_time(phase, r).total) == pytest.approx(expected, rel=1e-3)
    assert run_phases((phase,), r, EventOptions(packets=20_000)).seconds == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("cores", "tolerance"), [(2.0, 0.2), (4.0, 0.02), (8.0, 0.01)])
def test_a_shared_link_idles_only_while_all_cores_compute(cores: float, tolerance: float) -> None:
    """Arithmetic of half the link's time or as much, in a loop that overlaps nothing: one core would take the sum."""
    r = broadcastable(resolve(load_machine("amd-epyc-9755"), cores))
    r = replace(
        r,
        kernel_overlap=(1.0, 1.0),
        row_overlap=(1.0, 1.0),
        loaded_latency=(),
        dram_row_cycle_seconds=0.0,
        link_bytes_per_second=4e9,
    )
    size = 64e6 * cores
    stream = Stream("rows", "rows", (Access(size, 1e12, 1e12),), uops_per_line=1.0, array_bytes=1.0)
    link = size / 4e9
    for part in (0.5, 1.0):
        phase = Phase("phase", Work(chain_cycles=part * link * cores * r.vector_hz), (stream,))
        alone = replace(r, link_bytes_per_second=np.inf)
        closed, own = (float(phase_time(phase, one).total) for one in (r, alone))
        idle = part / (1.0 + part)
        assert closed == pytest.approx(max(link / (1.0 - idle**cores), own), rel=1e-3)
        assert run_phases((phase,), r, EventOptions(packets=20_000)).seconds == pytest.approx(closed, rel=tolerance)


@pytest.mark.parametrize("row_bytes", [64.0, 256.0])
@pytest.mark.parametrize("miss", [0.003, 0.03, 0.1, 0.3, 0.9])
def test_rare_misses_stall_windows_as_in_the_event_engine(row_bytes: float, miss: float) -> None:
    r = broadcastable(resolve(load_machine("amd-epyc-9755"), 1.0))
    shares = (*(1.0 for _ in r.levels[1:]), miss)
    stream = Stream("rows", "rows", (Access(64e6, 0.0, 0.0, shares),), row_bytes=row_bytes, array_bytes=1.0)
    phase = Phase("phase", Work(load_bytes=64e6), (stream,))
    closed = float(phase_time(phase, r).total)
    seconds = [run_phases((phase,), r, EventOptions(packets=200_000, seed=seed)).seconds for seed in (0, 1)]
    assert closed == pytest.approx(np.mean(seconds), rel=0.1)


def taken_in_turn(units: int, size: int, threads: int) -> dict[str, float]:
    """Pieces of `size` units, the last one smaller, each taken by the thread that is free first."""
    pieces = [min(size, units - first) for first in range(0, units, size)]
    free = [(0, 0, thread) for thread in range(threads)]
    for piece in pieces:
        load, count, thread = heapq.heappop(free)
        heapq.heappush(free, (load + piece, count + 1, thread))
    most, count, _ = max(free)
    return {"imbalance": most * threads / units, "workers": min(len(pieces), threads), "pieces": count}


GRID = np.array(list(product([*range(1, 34), 96, 100, 257], [*range(1, 10), 16, 33, 1000], [1, 2, 3, 4, 7, 8, 32])))
TAKEN = [taken_in_turn(*map(int, row)) for row in GRID]


@pytest.mark.parametrize("unit", [1.0, 0.1, 1e-6, 3e7])
def test_pieces_are_taken_by_the_thread_that_is_free_first(unit: float) -> None:
    """Of numbers that no binary fraction is, too."""
    units, size, threads = GRID.T
    found = dealt_pieces(units * unit, size * unit, threads.astype(float))
    for name in ("imbalance", "workers", "pieces"):
        assert found[name] == pytest.approx([one[name] for one in TAKEN], rel=1e-9), name


def test_pieces_of_one_machine_are_those_of_many() -> None:
    units, size, threads = (column.astype(float) for column in GRID.T)
    together = dealt_pieces(units, size, threads)
    for i in range(0, len(GRID), 97):
        alone = dealt_pieces(units[i], size[i], threads[i])
        assert {name: float(value) for name, value in alone.items()} == {name: v[i] for name, v in together.items()}


def test_pieces_of_one_unit_are_dealt_as_equal_ones() -> None:
    units, threads = np.meshgrid(np.arange(1.0, 200.0), np.array([1.0, 3.0, 8.0, 128.0]))
    found, equal = dealt_pieces(units, 1.0, threads), dealt(units, threads)
    assert found["imbalance"] == pytest.approx(equal["imbalance"])
    assert (found["pieces"] == equal["pieces"]).all()
