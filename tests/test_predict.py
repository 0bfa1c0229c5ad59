"""The analytic engine held to closed forms, bounds and orderings that it did not compute itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator import mapper
from simulator.analytic import RESOURCES, overlap
from simulator.explain import intervals, ratio_interval, time_stack
from simulator.levers import scaled
from simulator.machine import Duration, Machine, Provenance, Rate
from simulator.predict import PredictionError, evaluate, predict, predict_points
from simulator.schedule import take
from simulator.workload import GemmFfn, IndexDistribution, LookupFfn
from tests.example import MIB, gemm, lookup, machine, with_tiles

WORKLOADS = (
    gemm("fp32"),
    gemm("bf16"),
    gemm("int8"),
    gemm("int8-weight-only"),
    gemm("int4-weight-only"),
    lookup(),
    lookup("bf16", "bf16"),
    lookup("int8", "int16"),
    lookup("int8", "int8"),
)
BETTER_WHEN_LARGER = (
    "caches.L1.size_bytes",
    "caches.L2.size_bytes",
    "caches.L3.size_bytes",
    "caches.L2.bandwidth",
    "caches.L3.bandwidth",
    "caches.L3.shared_bandwidth",
    "memory.read_bandwidth_bytes_per_second",
    "memory.core_bandwidth_bytes_per_second",
    "memory.link_bandwidth_bytes_per_second",
    "core.demand_lines_in_flight",
    "core.vector_window_uops",
    "core.issue_width",
    "core.load_bytes_per_cycle",
    "core.store_bytes_per_cycle",
    "core.vector.fma_per_cycle",
    "core.vector.alu_per_cycle",
    "core.vector.convert_per_cycle",
    "prefetcher.stream_lines_in_flight",
    "prefetcher.row_lines_in_flight",
    "prefetcher.software_lines_in_flight",
)
BETTER_WHEN_SMALLER = (
    "memory.latency_seconds",
    "caches.L2.latency",
    "caches.L3.latency",
    "core.vector.exp_cycles_per_vector",
)

batches = st.sampled_from([1.0, 2.0, 3.0, 8.0, 17.0, 64.0, 512.0, 4096.0, 32768.0])
threads = st.sampled_from([1.0, 2.0, 5.0, 8.0])
residencies = st.sampled_from(["hot", "model"])


def candidates_count(candidates: Any) -> int:
    """Length of a candidate set."""
    return len(getattr(candidates, "token_block", getattr(candidates, "token_tile", ())))


@st.composite
def tasks(draw: Any) -> Any:
    """A workload at some batch, threads and residency."""
    workload = draw(st.sampled_from(WORKLOADS))
    return replace(workload, batch=draw(batches), threads=draw(threads), residency=draw(residencies))


def growing(path: str) -> Machine:
    """The machine whose `path` grows. Beside an exclusive level a sweep uses whole ways of the level inside only (as in exact
    simulation): with more sets these are fewer lines a set, so of an exclusive L3 more is not always faster."""
    cpu = machine()
    if path != "caches.L3.size_bytes":
        return cpu
    assert cpu.caches.L3 is not None
    return replace(cpu, caches=replace(cpu.caches, L3=replace(cpu.caches.L3, inclusion="inclusive")))


@settings(max_examples=150, deadline=None)
@given(tasks(), st.sampled_from(BETTER_WHEN_LARGER), st.floats(1.0, 8.0), st.integers(0, 30), st.floats(0.25, 4.0))
def test_more_of_a_resource_never_slows_a_fixed_schedule(
    task: Any, path: str, factor: float, index: int, start: float
) -> None:
    candidates = mapper.candidates(task.operator)
    schedule = take(candidates, index % candidates_count(candidates))
    small = scaled(growing(path), (path,), start)
    before = float(np.max(evaluate(small, task, schedule)))
    after = float(np.max(evaluate(scaled(small, (path,), factor), task, schedule)))
    assume(math.isfinite(before))
    assert after <= before * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(tasks(), st.sampled_from(BETTER_WHEN_LARGER), st.floats(1.0, 8.0), st.floats(0.25, 4.0))
def test_more_of_a_resource_never_slows_the_mappers_best(task: Any, path: str, factor: float, start: float) -> None:
    small = scaled(growing(path), (path,), start)
    before = predict(small, task).seconds_per_call
    assert predict(scaled(small, (path,), factor), task).seconds_per_call <= before * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(tasks(), st.sampled_from(BETTER_WHEN_SMALLER), st.floats(1.0, 8.0))
def test_longer_latencies_never_help(task: Any, path: str, factor: float) -> None:
    before = predict(machine(), task)
    after = float(np.max(evaluate(scaled(machine(), (path,), factor), task, before.schedule)))
    assert after >= before.seconds_per_call * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(tasks(), st.integers(2, 6))
def test_more_work_never_takes_less_time(task: Any, factor: int) -> None:
    schedule = predict(machine(), task).schedule
    task = replace(task, threads=1.0)
    before = float(np.max(evaluate(machine(), task, schedule)))
    more = replace(task, batch=task.batch * factor)
    assert float(np.max(evaluate(machine(), more, schedule))) >= before * (1 - 1e-9)
    layers = replace(task, layers=task.layers * factor)
    assert float(np.max(evaluate(machine(), layers, schedule))) >= before * factor * (1 - 1e-9)


def peak_seconds(task: Any) -> float:
    """Multiply-adds over the datasheet peak of the example machine, from shapes alone (no model code)."""
    op, cores, hz = task.operator, task.threads, 4e9
    fp32 = 2 * 16 * hz * cores
    rate = {"fp32": fp32, "bf16": 2 * fp32, "int16": 2 * fp32, "int8": 4 * fp32}
    if isinstance(op, GemmFfn):
        kind = "int8" if op.dtype.startswith("int") else op.dtype
        return task.layers * task.batch * 2 * 512 * 2048 / rate[kind]
    projection = 2 * 4 * 512 * 64 / rate[op.projection_dtype]
    gather = 128 * 512 / (rate["int8"] if op.table_dtype == "int8" else fp32)
    return task.layers * task.batch * (projection + gather)


@settings(max_examples=150, deadline=None)
@given(tasks())
def test_no_prediction_beats_the_roofline(task: Any) -> None:
    found = predict(machine(), task)
    assert found.seconds_per_call >= peak_seconds(task) * (1 - 1e-12)
    from_memory = found.traffic_bytes["memory"] * task.layers / 576e9
    assert found.seconds_per_call >= from_memory
    assert found.roofline_seconds_per_call <= found.seconds_per_call
    assert found.roofline_seconds_per_call >= peak_seconds(task) * (1 - 1e-12)


@settings(max_examples=80, deadline=None)
@given(tasks())
def test_the_time_stack_adds_up_and_no_share_is_negative(task: Any) -> None:
    found = predict(machine(), task)
    stack = time_stack(machine(), task, found)
    assert tuple(stack.seconds) == RESOURCES
    assert sum(stack.seconds.values()) == pytest.approx(found.seconds_per_call, rel=1e-12)
    assert min(stack.seconds.values()) >= -1e-12 * found.seconds_per_call
    assert stack.binding != stack.runner_up


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10), st.floats(1, 8), st.floats(1, 8))
def test_overlap_lies_between_the_largest_term_and_the_sum(
    core: float, cache: float, memory: float, p: float, q: float
) -> None:
    total = float(overlap(core, cache, memory, (p, q)))
    assert max(core, cache, memory) <= total * (1 + 1e-9) + 1e-12
    assert total <= (core + cache + memory) * (1 + 1e-9) + 1e-12


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10), st.floats(1, 8), st.floats(1, 8), st.floats(0, 5))
def test_overlap_never_falls_when_a_term_rises_or_time_moves_outwards(
    core: float, cache: float, memory: float, p: float, q: float, more: float
) -> None:
    exponents = (max(p, q), min(p, q))  # what a spec may state
    before = float(overlap(core, cache, memory, exponents)) * (1 - 1e-9) - 1e-12
    assert overlap(core + more, cache, memory, exponents) >= before
    assert overlap(core, cache + more, memory, exponents) >= before
    assert overlap(core, cache, memory + more, exponents) >= before
    moved = min(more, cache)
    assert overlap(core, cache - moved, memory + moved, exponents) >= before


def test_a_gemm_that_fits_and_has_infinite_caches_runs_at_the_efficiency_of_its_curve() -> None:
    cpu = machine()
    fast = replace(
        cpu,
        caches=replace(
            cpu.caches,
            L1=replace(cpu.caches.L1, size_bytes=1e15),
            L2=replace(cpu.caches.L2, size_bytes=1e15, bandwidth=Rate(1e12), latency=Duration(4.0)),
        ),
        core=replace(cpu.core, load_bytes_per_cycle=1e9, store_bytes_per_cycle=1e9, issue_width=1e6),
        software=replace(cpu.software, library_call=Duration(), gemm_efficiency_fp32=((1.0, 0.8),)),
    )
    found = predict(fast, gemm("fp32", batch=1024.0))
    gemms = sum(p.seconds for p in found.phases if p.name.startswith("gemm"))
    assert gemms == pytest.approx(1024 * 2 * 512 * 2048 / (2 * 16 * 4e9 * 0.8), rel=1e-6)


def test_weights_of_one_token_stream_at_the_bandwidth_of_the_level_that_holds_them() -> None:
    cpu = machine()
    deep = predict(cpu, gemm("fp32", batch=1.0, layers=400.0))  # 3.2 GB of weights: nothing stays
    gemms = [p for p in deep.phases if p.name.startswith("gemm")]
    stream = (24 + 75) * 64 / 140e-9
    assert sum(p.memory_seconds for p in gemms) == pytest.approx(8 * MIB / min(stream, 45e9), rel=0.01)
    assert deep.traffic_bytes["memory"] == pytest.approx(8 * MIB, rel=0.01)


def test_random_rows_of_one_token_obey_littles_law() -> None:
    cpu = machine()
    task = lookup(batch=1.0, layers=100.0)  # 6.4 GB of tables
    schedule = take(mapper.candidates(task.operator), 1)  # V2 without prefetch
    found = predict(cpu, task, schedule=schedule)
    gather = next(p for p in found.phases if p.name == "gather")
    lines = min(24 + 30 * (1 - 1 / 4), 130 / (1 + 1))  # 64-column stripes: rows of 256 bytes
    assert gather.memory_seconds == pytest.approx(128 * 2048 / (lines * 64 / 140e-9), rel=0.02)


def test_prefetched_rows_are_bounded_by_distance_over_latency() -> None:
    cpu = scaled(machine(), ("prefetcher.software_lines_in_flight",), 100.0)
    cpu = scaled(cpu, ("memory.core_bandwidth_bytes_per_second", "prefetcher.stream_lines_in_flight"), 100.0)
    cpu = scaled(cpu, ("memory.link_bandwidth_bytes_per_second",), 100.0)
    task = lookup(batch=1.0, layers=1000.0)
    schedule = replace(take(mapper.candidates(task.operator), 2), prefetch_bytes=16384.0)
    gather = next(p for p in predict(cpu, task, schedule=schedule).phases if p.name == "gather")
    assert gather.memory_seconds == pytest.approx(128 * 2048 / (16384 / 140e-9), rel=0.02)


def test_table_traffic_is_the_unique_rows() -> None:
    large_l3 = scaled(machine(), ("caches.L3.size_bytes",), 4.0)  # the tables of one layer stay during a call
    for batch, mib in ((1.0, 0.25), (8.0, 1.97), (64.0, 14.18), (512.0, 55.37)):
        task = lookup(batch=batch, layers=100.0)
        schedule = take(mapper.candidates(task.operator), 1)
        found = predict(large_l3, task, schedule=schedule)
        fetched = found.traffic_bytes["memory"] / MIB
        assert fetched == pytest.approx(mib, rel=0.05, abs=1.2), batch  # 1 MiB of projection weights comes along


def test_siblings_on_one_l3_fetch_shared_rows_once() -> None:
    one = predict(
        machine(), lookup(batch=512.0, threads=1.0, layers=100.0), schedule=take(mapper.lookup_candidates(), 1)
    )
    eight = predict(
        machine(), lookup(batch=512.0, threads=8.0, layers=100.0), schedule=take(mapper.lookup_candidates(), 1)
    )
    assert eight.traffic_bytes["memory"] <= one.traffic_bytes["memory"] * 1.1


def test_residency_orders_times() -> None:
    for task in WORKLOADS:
        for batch in (1.0, 64.0, 4096.0):
            hot = predict(machine(), replace(task, batch=batch, residency="hot")).seconds_per_call
            cycled = predict(machine(), replace(task, batch=batch, residency="model")).seconds_per_call
            evicted = predict(
                machine(), replace(task, batch=batch, evicted_bytes_between_layers=64 * MIB)
            ).seconds_per_call
            assert hot <= cycled * (1 + 1e-9)
            assert cycled <= evicted * (1 + 1e-9)


def test_dense_wins_at_one_token_only_where_near_bandwidth_exceeds_row_bandwidth_by_28() -> None:
    """The capacity reversal: 4 dense FFNs fit a 64 MiB L3, the 256 MiB of tables do not."""
    cpu = machine()
    l3 = replace(cpu.caches.L3, size_bytes=64 * MIB)  # type: ignore[type-var]
    usual = replace(cpu, caches=replace(cpu.caches, L3=l3))
    assert predict(usual, lookup(batch=1.0)).seconds_per_call < predict(usual, gemm(batch=1.0)).seconds_per_call
    near = replace(l3, bandwidth=Rate(1000.0), latency=Duration(15.0), shared_bandwidth=None)
    slow = scaled(replace(cpu, caches=replace(cpu.caches, L3=near)), ("memory.latency_seconds",), 20.0)
    slow = scaled(slow, ("core.vector.fma_per_cycle", "core.load_bytes_per_cycle", "core.issue_width"), 16.0)
    slow = scaled(slow, ("prefetcher.stream_lines_in_flight",), 1.0)
    assert predict(slow, gemm(batch=1.0)).seconds_per_call < predict(slow, lookup(batch=1.0)).seconds_per_call


def test_tiles_are_used_where_they_exist_and_pay() -> None:
    cpu = with_tiles(machine())
    plain, tiled = predict(machine(), gemm("bf16")), predict(cpu, gemm("bf16"))
    assert tiled.schedule.use_tiles == 1.0  # type: ignore[union-attr]
    assert plain.schedule.use_tiles == 0.0  # type: ignore[union-attr]
    assert tiled.seconds_per_call < plain.seconds_per_call / 3
    assert predict(cpu, gemm("fp32")).schedule.use_tiles == 0.0  # type: ignore[union-attr]


def test_a_missing_instruction_is_emulated_and_marked() -> None:
    cpu = machine()
    vector = replace(cpu.core.vector, dot_bf16_per_cycle=0.0, dot_int8_per_cycle=0.0, dot_int16_per_cycle=0.0)
    old = replace(cpu, isa=("avx2", "avx512"), core=replace(cpu.core, vector=vector))
    for task in (gemm("bf16"), gemm("int8"), lookup("int8", "int16"), lookup("bf16", "bf16")):
        native, emulated = predict(cpu, task), predict(old, task)
        assert native.native
        assert not emulated.native
        assert math.isfinite(emulated.seconds_per_call)
        assert emulated.seconds_per_call > native.seconds_per_call


def test_skew_makes_look_ups_cheaper_and_zipf_zero_is_uniform() -> None:
    def at(skew: float) -> float:
        op = LookupFfn(512.0, 512.0, 128.0, 256.0, indices=IndexDistribution("zipf", skew))
        return predict(machine(), replace(lookup(batch=64.0), operator=op)).seconds_per_call

    assert at(0.0) == predict(machine(), lookup(batch=64.0)).seconds_per_call
    assert at(1.2) < at(0.6) < at(0.0)


def test_small_pages_cost_something_beyond_the_tlb_reach() -> None:
    task = lookup(batch=1.0)
    assert (
        predict(machine(), replace(task, page_bytes=4096.0)).seconds_per_call
        > predict(machine(), task).seconds_per_call
    )


def test_points_agree_with_single_predictions() -> None:
    sizes = np.array([0.5, 1.0, 2.0, 4.0, 8.0]) * MIB
    batches_ = np.array([1.0, 8.0, 64.0, 512.0, 4096.0])
    cpu = machine()
    for task in WORKLOADS:
        points = replace(cpu, caches=replace(cpu.caches, L2=replace(cpu.caches.L2, size_bytes=sizes)))
        seconds, choice = predict_points(
            points, replace(task, batch=batches_, threads=np.array([1.0, 2.0, 4.0, 8.0, 8.0]))
        )
        for i, (size, batch, count) in enumerate(zip(sizes, batches_, (1.0, 2.0, 4.0, 8.0, 8.0), strict=True)):
            one = replace(cpu, caches=replace(cpu.caches, L2=replace(cpu.caches.L2, size_bytes=float(size))))
            single = predict(one, replace(task, batch=float(batch), threads=count))
            assert seconds[i] == pytest.approx(single.seconds_per_call, rel=1e-12)
            assert take(mapper.candidates(task.operator), int(choice[i])) == single.schedule


def test_threads_that_do_not_exist_are_refused() -> None:
    with pytest.raises(PredictionError, match="9 threads do not fit example: it has 8 physical cores"):
        predict(machine(), gemm(threads=9.0))


def test_intervals_contain_the_prediction_and_shared_parameters_cancel() -> None:
    provenance = {
        "clock.scalar": Provenance("estimated", "test", 0.25),
        "memory.latency": Provenance("estimated", "test", 0.25),
    }
    cpu = replace(machine(), provenance=provenance)
    runs = [(task, predict(cpu, task)) for task in (gemm("fp32"), lookup(batch=512.0))]
    for (_, found), interval in zip(runs, intervals(cpu, runs), strict=True):
        assert interval.low < found.seconds_per_call < interval.high
    same = ratio_interval(cpu, runs[0], runs[0])
    assert same.low == same.high == 1.0
    none = intervals(machine(), runs)
    assert none[0].low == pytest.approx(none[0].high) == pytest.approx(runs[0][1].seconds_per_call)
