"""The event engine: queueing theory, the closed forms where nothing contends, and mechanisms that move results as they should."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simulator.analytic import layer_seconds, phase_time
from simulator.events import EventOptions, EventRun, run_phases
from simulator.eventskew import skewed
from simulator.machine import Machine
from simulator.microbench import Probe, bytes_per_second, nanoseconds_a_line, probe_phase
from simulator.phases import Access, Phase, Stream, Work
from simulator.predict import context_of, lower, predict, predict_events
from simulator.resources import Resources, broadcastable, resolve
from simulator.schedule import NAMED
from simulator.specfile import SPEC_FOLDER, load_machine
from simulator.workload import IndexDistribution
from simulator.workloadfile import load_workload
from tests.benchmemory_events import agreement
from tests.eventqueues import queues

KIB, MIB, GIB = 2.0**10, 2.0**20, 2.0**30
CPU = load_machine("amd-epyc-9755")
FEW = EventOptions(packets=20_000)


def probe(
    p: Probe, threads: float = 1.0, machine: Machine = CPU, options: EventOptions = FEW, **changes: Any
) -> tuple[Resources, EventRun]:
    """A microbenchmark by the event engine; `changes` are fields of Resources."""
    r = replace(broadcastable(resolve(machine, threads)), **changes)
    return r, run_phases((probe_phase(p, r),), r, options)


def rate(p: Probe, threads: float = 1.0, **more: Any) -> float:
    """GB/s of all threads."""
    r, run = probe(p, threads, **more)
    return float(bytes_per_second(p, r, run.seconds)) / 1e9


def test_queues_follow_their_closed_forms() -> None:
    assert [(q.name, q.measured, q.theory) for q in queues() if abs(q.error) > 0.01] == []


@pytest.mark.parametrize("footprint", [32 * KIB, 512 * KIB, 16 * MIB, 180 * MIB])
def test_a_chase_takes_each_levels_latency(footprint: float) -> None:
    p = Probe("chase", footprint)
    r, run = probe(p)
    latencies = [level.latency_seconds for level in r.levels] + [r.memory_latency_seconds]
    took = float(nanoseconds_a_line(p, run.seconds)) * 1e-9
    assert took == pytest.approx(min(latencies, key=lambda x: abs(x - took)), rel=1e-2)
    assert took == pytest.approx(float(phase_time(probe_phase(p, r), r).total) / p.reads, rel=1e-2)


@pytest.mark.parametrize("lines", [8.0, 20.0, 40.0])
def test_littles_law_emerges(lines: float) -> None:
    got = rate(Probe("rows", 8 * GIB), demand_lines=lines, memory_core_bytes_per_second=1e12, window_uops=1e6)
    assert got == pytest.approx(lines * 64 / 126, rel=1e-2)


def test_links_and_channels_saturate() -> None:
    assert rate(Probe("sweep", GIB), 8.0) == pytest.approx(62.5, rel=1e-2)
    assert rate(Probe("rows", 8 * GIB), 128.0, options=EventOptions(packets=60_000)) == pytest.approx(550.0, rel=3e-2)


def test_nothing_beats_the_channels() -> None:
    for p in (Probe("sweep", GIB), Probe("rows", 8 * GIB, 2048.0)):
        for threads in (16.0, 128.0):
            assert rate(p, threads, options=replace(FEW, packets=5_000)) <= 550.0 * 1.001


def test_infinitely_fast_memory_leaves_the_arithmetic() -> None:
    """Infinite bandwidth and no latency beyond the L1: the closed form's core time, within 1 %."""
    r = broadcastable(resolve(CPU, 1.0))
    fast = {
        "core_bytes_per_second": 1e18,
        "write_bytes_per_second": 1e18,
        "instance_bytes_per_second": 1e18,
        "latency_seconds": 1e-15,
    }
    r = replace(
        r,
        levels=(r.levels[0], *(replace(level, **fast) for level in r.levels[1:])),
        memory_latency_seconds=1e-15,
        memory_core_bytes_per_second=1e18,
        memory_bytes_per_second=1e18,
        slice_bytes_per_second=1e18,
        link_bytes_per_second=1e18,
        loaded_latency=(),
        dram_row_cycle_seconds=0.0,
    )
    w = replace(load_workload("lookupffn-t128-s8-bh4"), batch=4096.0, threads=1.0)
    phases = lower(w.operator, NAMED["v3"], r, context_of(w))
    assert run_phases(phases, r, FEW).seconds == pytest.approx(float(layer_seconds(phases, r)), rel=1e-2)


def test_engines_agree_where_nothing_contends() -> None:
    """One thread; machines x workloads x dtypes x batches 1 to 4096."""
    machines = sorted(path.stem for path in SPEC_FOLDER.glob("*.yaml"))
    rows = agreement(1.0, machines[::3], EventOptions(packets=3_000))
    worst = max(rows, key=lambda row: abs(row["difference"]))
    assert abs(worst["difference"]) <= 0.05, worst


def gather(batch: float, threads: float, name: str = "v3") -> tuple[tuple[Phase, ...], Resources]:
    """The published layer under a named schedule."""
    w = replace(load_workload("lookupffn-t128-s8-bh4"), batch=batch, threads=threads)
    r = broadcastable(resolve(CPU, threads))
    return lower(w.operator, NAMED[name], r, context_of(w)), r


def test_time_stacks_add_up_to_the_picosecond() -> None:
    phases, r = gather(1000.0, 16.0)
    run = run_phases(phases, r, FEW)
    assert sum(run.stack.values()) == run.time_ps == sum(phase.seconds_ps for phase in run.phases)
    assert run.stack["imbalance"] > 0
    by_core: dict[int, int] = {}
    for core, _, _, _, duration in run.slices:
        by_core[core] = by_core.get(core, 0) + duration
    assert set(by_core.values()) == {run.time_ps}


def test_granularity_hardly_matters() -> None:
    phases, r = gather(4096.0, 8.0)
    enough = replace(FEW, packets=40_000)
    base = run_phases(phases, r, enough).seconds
    for options in (replace(enough, packet_lines=2.0), replace(enough, packets=80_000)):
        assert run_phases(phases, r, options).seconds == pytest.approx(base, rel=0.02)


def test_more_of_a_resource_is_not_slower() -> None:
    p = Probe("rows", 8 * GIB, 256.0)
    for name, values in {
        "memory_bytes_per_second": (100e9, 200e9, 400e9),
        "link_bytes_per_second": (30e9, 60e9, 120e9),
        "demand_lines": (8.0, 16.0, 32.0),
    }.items():
        rates = [rate(p, 16.0, options=replace(FEW, packets=5_000), **{name: value}) for value in values]
        assert all(b >= 0.98 * a for a, b in zip(rates, rates[1:], strict=False)), name
        assert rates[-1] > rates[0]


def test_software_prefetch_distance_bounds_lines_in_flight() -> None:
    slow = load_machine("amd-epyc-9755", {"memory.latency": "1000 ns"})
    near, far = (rate(Probe("rows", 8 * GIB, 128.0, prefetch_bytes=size), machine=slow) for size in (2560.0, 8192.0))
    assert near == pytest.approx(41 * 64 / 1000, rel=3e-2)
    assert far == pytest.approx(64 * 64 / 1000, rel=3e-2)


def test_banks_throttle_random_lines_and_not_streams() -> None:
    """One core, one channel of few banks: an activation a line at most every tRC / banks."""
    few = {"memory_channels": 1.0, "dram_banks": 4.0, "dram_row_cycle_seconds": 48e-9, "loaded_latency": ()}
    options = replace(FEW, dram="banks")
    random = rate(Probe("rows", 8 * GIB), options=options, **few)
    assert random < 4 * 64 / 48 * 1.001  # 5.3 GB/s
    assert random > 0.6 * 4 * 64 / 48  # 26 lines in flight keep most of four banks busy
    assert rate(Probe("sweep", GIB), options=options, **few) > 6 * random


def test_a_loaded_latency_curve_slows_what_waits_for_memory() -> None:
    loaded = {"loaded_latency": ((0.0, 1.0), (0.5, 1.0), (1.0, 3.0))}
    p = Probe("chase", 64 * GIB)
    alone = probe(p, 1.0, **loaded)[1].seconds
    assert alone == pytest.approx(probe(p, 1.0, loaded_latency=(), dram_row_cycle_seconds=0.0)[1].seconds, rel=1e-3)
    busy = Probe("rows", 8 * GIB)
    with_curve = rate(busy, 128.0, options=replace(FEW, dram="curve"), **loaded)
    without = rate(busy, 128.0, options=replace(FEW, dram="queue"), **loaded)
    assert with_curve < without * 1.001


def test_placement_on_two_sockets() -> None:
    """Local tables beat interleaved ones, these beat all on the first socket; a lone chase pays the way to the other socket."""
    two = replace(CPU, sockets=2.0, cores_per_socket=8.0)
    options = [replace(FEW, placement=name) for name in ("local", "interleaved", "first-touch")]
    local, spread, first = (
        rate(Probe("rows", 8 * GIB), 16.0, machine=two, options=o, link_bytes_per_second=np.inf) for o in options
    )
    assert local > 1.1 * spread
    assert spread > 1.02 * first
    p = Probe("chase", 180 * MIB)
    waits = [
        float(nanoseconds_a_line(p, probe(p, 16.0, two, o, loaded_latency=(), dram_row_cycle_seconds=0.0)[1].seconds))
        for o in options
    ]
    assert waits[1] - waits[0] == pytest.approx(110 / 2, rel=0.1)
    assert waits[2] - waits[0] == pytest.approx(110, rel=0.1)


def test_socket_links_saturate() -> None:
    two = replace(CPU, sockets=2.0, cores_per_socket=8.0)
    first = replace(FEW, placement="first-touch")
    free = {"link_bytes_per_second": np.inf, "numa_bytes_per_second": 10e9}
    remote = probe(Probe("rows", 8 * GIB), 16.0, two, first, **free)
    lines = 1e6 * 8 * 64 / 10e9
    assert remote[1].seconds == pytest.approx(lines, rel=0.02)


def test_siblings_hide_latency_behind_arithmetic() -> None:
    """Arithmetic and transfers of equal length in a loop that overlaps badly: two threads fill each other's gaps, and no more
    than the arithmetic allows; what waits for memory alone gains nothing, as the lines in flight are shared."""
    r = replace(
        broadcastable(resolve(CPU, 1.0)),
        kernel_overlap=(1.0, 1.0),
        row_overlap=(1.0, 1.0),
        loaded_latency=(),
        dram_row_cycle_seconds=0.0,
    )
    size = 64e6
    stream = Stream("rows", "rows", (Access(size, 1e12, 1e12),), uops_per_line=1.0, array_bytes=1.0)
    wait = float(phase_time(Phase("wait", Work(), (stream,)), r).total)
    both = Phase("both", Work(chain_cycles=wait * r.vector_hz), (stream,))
    one, two = (run_phases((both,), r, replace(FEW, smt=n)).seconds for n in (1, 2))
    assert one == pytest.approx(2 * wait, rel=0.02)
    assert wait * 0.99 < two < 0.85 * one
    long = Phase("long", Work(chain_cycles=3.0 * wait * r.vector_hz), (stream,))
    assert run_phases((long,), r, replace(FEW, smt=2)).seconds == pytest.approx(
        3.0 * wait, rel=0.03
    )  # one core's arithmetic
    only = Phase("wait", Work(), (stream,))
    alone, shared = (run_phases((only,), r, replace(FEW, smt=n)).seconds for n in (1, 2))
    assert shared == pytest.approx(alone, rel=0.02)


def test_siblings_may_have_more_lines_in_flight_than_one_thread() -> None:
    r = broadcastable(resolve(CPU, 1.0))
    r = replace(r, smt_demand_lines=1.5 * r.demand_lines, window_uops=1e6, memory_core_bytes_per_second=1e12)
    stream = Stream("rows", "rows", (Access(64e6, 1e12, 1e12),), uops_per_line=1.0, array_bytes=1.0)
    alone, shared = (run_phases((Phase("wait", Work(), (stream,)),), r, replace(FEW, smt=n)).seconds for n in (1, 2))
    assert alone / shared == pytest.approx(1.5, rel=0.02)


def test_dynamic_scheduling_gives_more_to_the_cores_near_memory() -> None:
    """All memory on the first socket: dealt out alike, the second one's cores are late; taken from a counter, rates add up."""
    r = broadcastable(resolve(replace(CPU, sockets=2.0, cores_per_socket=8.0), 16.0))
    stream = Stream("rows", "rows", (Access(640e6, 1e12, 1e12),), uops_per_line=1.0, array_bytes=1.0)
    phase = Phase("rows", Work(), (stream,))
    options = [replace(FEW, packets=60_000, placement=place) for place in ("local", "first-touch")]
    near, far = (run_phases((phase,), r, o).seconds for o in options)
    assert far > 1.1 * near
    taken = [run_phases((phase,), r, replace(o, scheduling="dynamic", units=512)) for o in options]
    assert taken[0].seconds == pytest.approx(near, rel=0.01)
    assert taken[1].seconds == pytest.approx(2.0 / (1.0 / near + 1.0 / far), rel=0.01)
    assert taken[1].seconds < 0.95 * far
    assert taken[1].stack["imbalance"] < 0.01 * taken[1].time_ps


def test_dynamic_scheduling_trades_imbalance_for_grabs() -> None:
    r = broadcastable(resolve(CPU, 8.0))
    stream = Stream("rows", "rows", (Access(64e6, 1e12, 1e12),), uops_per_line=1.0, array_bytes=1.0)
    uneven = Phase("rows", Work(), (stream,), imbalance=4 / 3)  # 12 units on 8 cores
    balanced = replace(uneven, imbalance=1.0)
    static, even = (run_phases((phase,), r, FEW) for phase in (uneven, balanced))
    dynamic = run_phases((uneven,), r, replace(FEW, scheduling="dynamic"))
    assert static.stack["imbalance"] > 0
    assert dynamic.stack["synchronisation"] > 0
    assert even.seconds < static.seconds
    assert dynamic.seconds == pytest.approx(static.seconds, rel=0.02)  # 12 pieces take two rounds, whoever deals them
    many = run_phases((balanced,), r, replace(FEW, scheduling="dynamic", units=1_000_000))
    assert many.seconds > 5 * even.seconds
    assert many.seconds >= 0.99e6 * r.core_to_core_seconds  # the counter's line is in one core at a time


def test_hot_slices_and_channels_delay_everybody() -> None:
    sixteen = tuple(1.0 if i else 16.0 for i in range(8))
    even, hot = (rate(Probe("rows", 3 * MIB), 8.0, options=replace(FEW, slice_weights=w)) for w in ((), sixteen))
    assert hot < 0.7 * even
    channels = tuple(1.0 if i else 12.0 for i in range(12))
    even, hot = (rate(Probe("rows", 8 * GIB), 128.0, options=replace(FEW, channel_weights=w)) for w in ((), channels))
    assert hot == pytest.approx(550 / 12 / (12 / 23), rel=0.1)  # the hot channel is all there is to wait for
    assert hot < 0.3 * even


def test_false_sharing_is_punished_as_in_the_closed_form() -> None:
    """Nothing overlaps hand-overs of one core: the code phase takes their sum."""
    phases, r = gather(4096.0, 64.0, "published")
    codes = next(phase for phase in phases if phase.name == "code_score")
    run = run_phases((codes,), r, FEW)
    time = phase_time(codes, r)
    assert run.seconds == pytest.approx(float(time.transfers), rel=1e-2)
    assert run.stack["line transfers"] > 0.5 * run.time_ps
    fair = next(phase for phase in gather(4096.0, 64.0, "v1")[0] if phase.name == "code_score")
    assert run.seconds > 2 * run_phases((fair,), r, FEW).seconds


def test_more_threads_than_work_wait() -> None:
    phases, r = gather(1.0, 8.0)
    run = run_phases(phases, r, FEW)
    assert run.stack["imbalance"] > 0.5 * run.stack["compute"]


def test_the_same_run_twice_is_the_same_run() -> None:
    phases, r = gather(512.0, 16.0)
    assert run_phases(phases, r, FEW) == run_phases(phases, r, FEW)
    assert run_phases(phases, r, FEW) != run_phases(phases, r, replace(FEW, seed=1))


def test_counters_and_slices_are_bounded() -> None:
    phases, r = gather(32768.0, 16.0)
    run = run_phases(phases, r, FEW)
    assert len(run.counters) <= 2048 * len(phases)
    assert len(run.slices) <= 4 * 16 * len(phases)


def test_skewed_rows_load_slices_and_channels_unequally() -> None:
    r = broadcastable(resolve(CPU, 8.0))
    op: Any = load_workload("lookupffn-t128-s8-bh4").operator
    assert skewed(FEW, op, 512.0, r) is FEW  # uniform
    hot = [replace(op, tables=4, output=16, indices=IndexDistribution("zipf", s)) for s in (0.5, 1.2)]
    mild, steep = (skewed(FEW, one, 512.0, r) for one in hot)
    for weights in (mild.slice_weights, mild.channel_weights, steep.slice_weights):
        assert sum(weights) == pytest.approx(1.0)
    assert max(steep.slice_weights) > max(mild.slice_weights) > 1 / 8
    wide = skewed(FEW, replace(hot[1], output=128), 512.0, r)  # rows of 512 bytes touch every slice once
    assert max(wide.slice_weights) == pytest.approx(1 / 8)


def test_predict_by_events_keeps_the_schedule() -> None:
    w = replace(load_workload("lookupffn-t128-s8-bh4"), batch=512.0, threads=2.0)
    base = predict(CPU, w)
    prediction, run = predict_events(CPU, w, FEW)
    assert prediction.schedule == base.schedule
    assert prediction.engine == "events"
    assert prediction.seconds_per_call == pytest.approx(run.seconds * w.layers)
    assert prediction.seconds_per_call == pytest.approx(base.seconds_per_call, rel=0.05)
