"""Microbenchmarks as phases: latencies, Little's law and links come out as they went in; and the known shapes hold."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.analytic import phase_time
from simulator.machine import Machine
from simulator.microbench import Probe, bytes_per_second, nanoseconds_a_line, probe_phase
from simulator.resources import broadcastable, resolve
from simulator.specfile import load_machine
from tests.benchmemory_shapes import (
    PROBES,
    Shape,
    chiplet_shapes,
    emerald_shapes,
    emerald_winners,
    host,
    host_shapes,
    parameters,
    reversal,
    table,
    turning_point,
    winner_shapes,
)

KIB, MIB, GIB = 2.0**10, 2.0**20, 2.0**30
CPU = load_machine("amd-epyc-9755")


def timed(machine: Machine, probe: Probe, threads: float = 1.0) -> tuple[float, float]:
    """(nanoseconds a line of one thread, GB/s of all)."""
    r = broadcastable(resolve(machine, threads))
    seconds = phase_time(probe_phase(probe, r), r).total
    return float(nanoseconds_a_line(probe, seconds)), float(bytes_per_second(probe, r, seconds)) / 1e9


def test_a_chase_takes_each_levels_latency() -> None:
    r = resolve(CPU, 1.0)
    wanted = [level.latency_seconds * 1e9 for level in r.levels] + [126.0]
    footprints = (32 * KIB, 512 * KIB, 16 * MIB, 180 * MIB)  # within the 192 MiB that the first TLB reaches
    for footprint, nanoseconds in zip(footprints, wanted, strict=True):
        assert timed(CPU, Probe("chase", footprint))[0] == pytest.approx(nanoseconds, rel=2e-3)


def test_small_pages_add_walks_and_only_beyond_their_reach() -> None:
    hz = resolve(CPU, 1.0).vector_hz
    big = Probe("chase", 64 * GIB, page_2m=0.0)
    huge = Probe("chase", 64 * GIB / 2**20, page_2m=0.0)
    share = 1.0 - 4096 * 4096 / big.footprint_bytes
    added = timed(CPU, big)[0] - timed(CPU, Probe("chase", 180 * MIB))[0]
    assert added == pytest.approx(
        (share * 37 + (1 - share) * 7) / hz * 1e9, rel=1e-2
    )  # a walk of 30, after 7 cycles of the L2 TLB
    assert timed(CPU, huge)[0] == timed(CPU, Probe("chase", huge.footprint_bytes))[0]


def test_an_l2_tlb_hit_adds_its_latency_to_a_chase() -> None:
    hz = resolve(CPU, 1.0).vector_hz
    small, huge = (timed(CPU, Probe("chase", 12 * MIB, page_2m=page))[0] for page in (0.0, 1.0))
    beyond_first = 1.0 - 96 * 4096 / (12 * MIB)
    assert small - huge == pytest.approx(beyond_first * 7 / hz * 1e9, rel=1e-3)


def test_random_lines_follow_littles_law() -> None:
    slow = load_machine("amd-epyc-9755", {"memory.latency": "400 ns"})
    rate = timed(slow, Probe("rows", 8 * GIB))[1]
    assert rate == pytest.approx(26 * 64 / 400, rel=1e-2)


def test_a_sweep_gets_the_stream_and_chiplets_their_link() -> None:
    assert timed(CPU, Probe("sweep", GIB))[1] == pytest.approx(50.0, rel=2e-2)
    assert timed(CPU, Probe("sweep", GIB), 8.0)[1] == pytest.approx(62.5, rel=2e-3)  # one chiplet
    assert timed(CPU, Probe("sweep", GIB), 128.0)[1] == pytest.approx(550.0, rel=2e-3)  # all channels


def test_software_prefetch_bounds_rows_by_its_distance() -> None:
    slow = load_machine("amd-epyc-9755", {"memory.latency": "1000 ns"})
    near, far = (timed(slow, Probe("rows", 8 * GIB, 128.0, prefetch_bytes=size))[1] for size in (2560.0, 8192.0))
    assert near == pytest.approx(41 * 64 / 1000, rel=5e-2)
    assert far == pytest.approx(64 * 64 / 1000, rel=5e-2)


HOST_MARGINS = {
    "chase L1, 32 KiB, 4 KiB pages": 0.06,
    "chase L2, 256 KiB, 4 KiB pages": 0.07,
    "random 64 B, DRAM, 2 MiB pages": 0.17,
    "random 64 B, 64 MiB: time in 4 KiB over 2 MiB pages": 0.1,
    # Not reproduced: half of 2 MiB of random lines hit the L2 in the model, and what misses streams at the L3's bandwidth.
    "random 64 B, L3, 2 MiB": 1.05,
    "random 2 KiB rows, L3, 2 MiB": 0.45,
}
"""Everything else lies inside the measured range."""


def misses(found: list[Shape], margins: dict[str, float]) -> dict[str, float]:
    return {s.name: s.error for s in found if abs(s.error) > margins.get(s.name, 0.0)}


def test_plateaus_bandwidths_and_pages_of_the_zen_5_host() -> None:
    found = host_shapes()
    assert len(found) == len(PROBES) + 3
    assert misses(found, HOST_MARGINS) == {}


def test_a_second_machine_is_met_where_its_neighbours_do_not_reach() -> None:
    found = {shape.name: shape for shape in emerald_shapes()}
    private = ("chase L1, 16 KiB", "chase L2, 1 MiB", "random 64 B, DRAM")
    assert all(abs(found[name].error) < 0.08 for name in private)
    plateaus = [shape for name, shape in found.items() if name.startswith("chase") and "pages" not in name]
    assert [s.predicted for s in plateaus] == sorted(s.predicted for s in plateaus)
    # Other guests' share of L3 and memory is not in a detected spec: a factor of two at most, but where 16 cores' 256 MiB
    # would fit an L3 that is theirs alone.
    whole = "sweep L3, 16 MiB a core, 16 cores"
    assert all(0.5 < s.predicted / s.measured[0] < 2.2 for name, s in found.items() if name != whole)
    assert 0.5 < found[whole].predicted / found[whole].measured[0] < 2.6


def test_links_then_channels_of_epyc_9354p() -> None:
    found = {shape.name: shape for shape in chiplet_shapes()}
    margins = {
        "one chiplet link, 4 cores": 0.02,
        "1 thread on one CCD of each node": 0.31,  # 25 GB/s are 40 lines in flight: prefetched neighbours count there
        "2 threads on one CCD of each node": 0.24,
        "3 threads on one CCD of each node": 0.03,
        "4 threads on one CCD of each node": 0.02,
        "5 threads a node": 0.05,
        "6 threads a node": 0.16,  # queues below saturation are not in the closed forms
        "all cores, one thread each": 0.13,
    }
    assert misses(list(found.values()), margins) == {}
    assert found["all cores, SMT"].predicted > 1.7 * found["4 threads on one CCD of each node"].predicted


def test_measured_winners_hot_and_model() -> None:
    summary, *cases = winner_shapes()
    assert summary.predicted == summary.measured[0] == len(cases) == 30
    assert max(abs(case.error) for case in cases) < 1.3


def test_winners_on_a_second_machine_with_amx() -> None:
    summary, *cases = emerald_winners()
    assert len(cases) == 12
    assert summary.predicted >= 11
    assert {c.measured[0] > 1.0 for c in cases} == {True, False}
    assert max(abs(case.error) for case in cases) < 0.7


def test_the_dense_form_wins_at_one_token_where_near_bandwidth_is_28_times_that_of_rows() -> None:
    turn = turning_point()
    assert turn.speedup == pytest.approx(1.0, abs=1e-3)
    assert turn.ratio == pytest.approx(28.0, rel=0.15)
    for misses_in_flight, winner in ((2.0, "gemm"), (64.0, "lookup")):
        found = reversal(misses_in_flight)
        assert (found.ratio > 28.0) is (winner == "gemm")
        assert (found.speedup < 1.0) is (winner == "gemm")


def test_an_engine_can_take_the_place_of_the_closed_forms() -> None:
    calls: list[Any] = []

    def twice(phase: Any, r: Any) -> Any:
        calls.append(phase.name)
        return 2.0 * phase_time(phase, r).total

    slow, fast = host_shapes(twice), host_shapes()
    assert calls
    assert slow[0].predicted == pytest.approx(2.0 * fast[0].predicted)


def test_the_parameters_are_stated() -> None:
    stated = parameters(host())
    assert stated["memory.latency"] == "152 ns"
    assert stated["core.demand_lines_in_flight"] == "26"
    assert table(host_shapes()).row_count == len(PROBES) + 3
