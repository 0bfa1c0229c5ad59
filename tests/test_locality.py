"""Locality in closed form: held to the trace simulator on 40 cases, to formulas it does not contain, and to orderings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from simulator.compiled import digest
from simulator.gatherstate import DECAY, ROWS, STATE
from simulator.locality import cyclic_miss_share, miss_shares
from simulator.lowering import Context
from simulator.microbench import Probe, probe_phase
from simulator.predict import lower
from simulator.randomrows import alike_misses, skewed_misses
from simulator.resources import broadcastable, resolve
from simulator.rowkernel import distinct
from simulator.rowreuse import Draws
from simulator.schedule import NAMED, LookupSchedule
from simulator.setkernel import kept
from simulator.workload import IndexDistribution, LookupFfn, unique_rows
from tests.benchmemory_locality import summary
from tests.localitycases import KIB, cases, outcome, page_cases, page_outcome, small_machine

UNIFORM = IndexDistribution()
ZIPF = IndexDistribution("zipf", 0.8)


def test_closed_forms_agree_with_the_trace_simulator_on_forty_cases() -> None:
    records = {(r["kind"], r["level"]): r for r in summary(outcome(case) for case in cases(40))}
    for level in ("L1", "L2", "L3"):
        found = records["all caches", level]
        assert found["mean_points"] <= 1.2, found
        assert found["p95_points"] <= 6.0, found


def test_tlb_reach_agrees_with_the_trace_simulator() -> None:
    for found in map(page_outcome, page_cases(6)):
        assert max(map(abs, found.errors)) <= 2.5, (found.case.name, found.errors)


def test_a_cyclic_sweep_keeps_everything_or_nothing() -> None:
    assert cyclic_miss_share(1.0, (), 8.0) == 0.0
    assert cyclic_miss_share(1.0 + 1.0 / 8.0, (), 8.0) == pytest.approx(1.0)  # every set has a line too many
    # Half of the sets have nine lines for eight ways: those miss, 9 of 17 lines.
    assert cyclic_miss_share(1.0 + 1.0 / 16.0, (), 8.0) == pytest.approx(9.0 / 17.0)


def test_random_lines_keep_the_fitting_share() -> None:
    cpu = small_machine((8 * KIB, 64 * KIB, 512 * KIB), (8, 8, 16), 1, "inclusive")
    r = resolve(cpu, 1.0)
    assert alike_misses(32.0 * KIB, 1.0, r) == pytest.approx((0.75, 0.0, 0.0))


@pytest.mark.parametrize("tokens", [1.0, 7.0, 64.0, 1000.0])
def test_distinct_rows_are_those_of_the_workload(tokens: float) -> None:
    for indices in (UNIFORM, ZIPF):
        draws = Draws(indices, 256.0)
        state, table = np.zeros(STATE), np.concatenate([[len(draws.table[0])], *draws.table])
        state[ROWS], state[DECAY] = 256.0, draws.decay
        found = distinct(state, table, tokens)
        assert found == pytest.approx(float(unique_rows(indices, 256.0, tokens)), rel=2e-4)


@pytest.mark.parametrize(("trials", "chance"), [(3, 0.3), (2, 0.5), (10, 0.05), (24, 0.5), (64, 0.2), (100, 0.1)])
def test_other_rows_in_a_set_are_binomial(trials: int, chance: float) -> None:
    """Exactly for few, within half a point for many."""
    for ways in range(1, 21):
        exact = binom.cdf(ways - 1, trials, chance)
        found = kept(float(ways), 1.0, 0.0, trials * chance, 1.0 - chance, 0.0, 0.0)
        assert found == pytest.approx(exact, abs=1e-6 if trials * chance * (1.0 - chance) < 0.8 else 0.008), ways


def test_a_set_keeps_what_has_room() -> None:
    assert kept(8.0, 1.0, 0.0, 0.0, 1.0, 7.0, 0.0) == 1.0  # seven others and the line itself fill eight ways
    assert kept(8.0, 1.0, 0.0, 0.0, 1.0, 8.0, 0.0) == 0.0
    assert kept(8.0, 1.0, 0.0, 0.0, 1.0, 7.25, 0.0) == pytest.approx(0.75)  # a quarter of the sets has one more
    assert kept(8.5, 1.0, 0.0, 0.0, 1.0, 7.5, 0.0) == pytest.approx(1.0)  # half a way on average
    assert kept(8.0, 4.0, 3.0, 0.0, 1.0, 4.0, 0.0) == 1.0  # four pieces of one row beside four lines
    assert kept(8.0, 4.0, 3.0, 0.0, 1.0, 5.0, 0.0) == 0.0


def skewed(p: Any, capacities: tuple[float, float, float], inclusion: str) -> tuple[float, ...]:
    """Miss shares of rows of one line with probabilities p."""
    r = resolve(small_machine(tuple(int(64 * c) for c in capacities), (8, 8, 16), 1, inclusion), 1.0)  # type: ignore[arg-type]
    return skewed_misses(p, 64.0, 1.0, r)


def test_skewed_rows_in_a_full_cache_follow_che() -> None:
    p = np.arange(1, 257) ** -0.8
    p /= p.sum()
    time = 150.0
    rows = float(np.sum(1.0 - np.exp(-p * time)))  # in a cache whose characteristic time is 150 draws
    assert skewed(p, (rows, 1e3, 1e4), "inclusive")[0] == pytest.approx(float(np.sum(p * np.exp(-p * time))), abs=0.01)


def test_alike_rows_keep_the_fitting_share_behind_another_cache() -> None:
    """Filtered or not, a cache holds its share of rows that are alike, and a victim cache its own and the inner one's, but
    for the free ways."""
    p = np.full(1000, 1e-3)
    assert skewed(p, (50.0, 100.0, 400.0), "inclusive") == pytest.approx((0.95, 0.9, 0.6), abs=0.01)
    assert skewed(p, (50.0, 100.0, 400.0), "exclusive")[2] == pytest.approx(0.5, abs=0.03)
    assert skewed(p, (50.0, 100.0, 400.0), "exclusive")[2] > 0.5


def gather_shares(schedule: LookupSchedule, batch: float, layers: float, sizes: Any, indices: IndexDistribution) -> Any:
    """Miss shares of the gather's streams by level, the streams' accesses in order."""
    op = LookupFfn(64.0, 256.0, 32.0, 64.0, block=16.0, stages=2.0, indices=indices)
    r = broadcastable(resolve(small_machine(sizes, (8, 8, 16), 1), 1.0))
    phases = lower(op, schedule, r, Context(batch, layers, 0.0))
    gather = next(phase for phase in phases if phase.name == "gather")
    return [np.array(miss_shares(access, r), dtype=float) for stream in gather.streams for access in stream.accesses]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["v1", "v2", "v3", "v4", "v5"]),
    st.sampled_from([1.0, 5.0, 64.0, 500.0, 4096.0]),
    st.sampled_from([1.0, 3.0, 12.0]),
    st.sampled_from([UNIFORM, ZIPF]),
    st.floats(0.1, 10.0),
    st.floats(1.0, 4.0),
)
def test_shares_lie_in_bounds_never_rise_outwards_and_fall_with_capacity(
    name: str, batch: float, layers: float, indices: IndexDistribution, scale: float, more: float
) -> None:
    small = tuple(scale * size * KIB for size in (8, 64, 512))
    before = gather_shares(NAMED[name], batch, layers, small, indices)
    after = gather_shares(NAMED[name], batch, layers, tuple(size * more for size in small), indices)
    for old, new in zip(before, after, strict=True):
        assert np.all((old >= 0.0) & (old <= 1.0))
        assert np.all(np.diff(old) <= 0.0)
        assert np.all(new <= old + 1e-6)


def test_a_model_that_fits_misses_nothing_and_one_that_does_not_misses_first_touches() -> None:
    fits = gather_shares(NAMED["v3"], 64.0, 4.0, (32 * KIB, 256 * KIB, 1 << 30), UNIFORM)
    assert max(shares[-1] for shares in fits) == 0.0
    small = gather_shares(NAMED["v3"], 64.0, 400.0, (32 * KIB, 256 * KIB, 1 << 20), UNIFORM)
    assert small[3][-1] == 1.0  # first touches of a call


def test_many_schedules_at_once_are_the_same_as_one_by_one() -> None:
    names = ("v1", "v2", "v3", "v4", "v5")
    together = LookupSchedule(
        *(np.array([getattr(NAMED[n], f) for n in names]) for f in LookupSchedule.__dataclass_fields__)
    )
    sizes = (8 * KIB, 64 * KIB, 512 * KIB)
    op = LookupFfn(64.0, 256.0, 32.0, 64.0, block=16.0, stages=2.0)
    r = broadcastable(resolve(small_machine(sizes, (8, 8, 16), 4), 4.0))
    context = Context(200.0, 4.0, 0.0)
    found = next(p for p in lower(op, together, r, context) if p.name == "gather")
    for index, name in enumerate(names):
        alone = next(p for p in lower(op, NAMED[name], r, context) if p.name == "gather")
        for stream, other in zip(found.streams, alone.streams, strict=True):
            for access, single in zip(stream.accesses, other.accesses, strict=True):
                for many, one in zip(miss_shares(access, r), miss_shares(single, r), strict=True):
                    assert np.broadcast_to(many, 5)[index] == pytest.approx(float(one), abs=2e-9), (name, stream.name)


def test_a_measured_curve_overrides_the_closed_form() -> None:
    cpu = small_machine((8 * KIB, 64 * KIB, 512 * KIB), (8, 8, 16), 1)
    assert cpu.caches.L3 is not None
    curve = ((0.1, 0.0), (10.0, 0.5))
    measured = replace(cpu, caches=replace(cpu.caches, L3=replace(cpu.caches.L3, cyclic_miss_curve=curve)))
    r = broadcastable(resolve(measured, 1.0))
    access = probe_phase(Probe("sweep", 100.0 * 512 * KIB), r).streams[0].accesses[0]
    assert float(miss_shares(access, r)[-1]) == 0.5


def test_a_measured_curve_of_random_reuse_overrides_the_fitting_share() -> None:
    cpu = small_machine((8 * KIB, 64 * KIB, 512 * KIB), (8, 8, 16), 1, "inclusive")
    assert cpu.caches.L3 is not None
    curve = ((0.5, 0.0), (10.0, 0.9))
    measured = replace(cpu, caches=replace(cpu.caches, L3=replace(cpu.caches.L3, random_miss_curve=curve)))
    r = broadcastable(resolve(measured, 1.0))
    for indices in (UNIFORM, ZIPF):
        access = probe_phase(Probe("rows", 20.0 * 512 * KIB, 64.0, indices=indices), r).streams[0].accesses[0]
        assert float(miss_shares(access, r)[-1]) == pytest.approx(0.9)


def curved(points: tuple[tuple[float, float], ...]) -> Any:
    """Resources of the small machine with a curve of sweeps on its last level."""
    cpu = small_machine((8 * KIB, 64 * KIB, 512 * KIB), (8, 8, 16), 1, "inclusive")
    assert cpu.caches.L3 is not None
    measured = replace(cpu, caches=replace(cpu.caches, L3=replace(cpu.caches.L3, cyclic_miss_curve=points)))
    return broadcastable(resolve(measured, 1.0))


def test_a_curve_of_sweeps_holds_for_swept_rows_and_not_for_those_that_come_back_at_random() -> None:
    """First touches of a call: of 4096 tokens, all rows come round; of four, a row seldom comes back in the next call."""
    op = LookupFfn(64.0, 256.0, 32.0, 64.0, block=16.0, stages=2.0)  # 2 MiB of rows a layer
    measured, closed = curved(((0.1, 0.37), (100.0, 0.37))), curved(())

    def first_touches(r: Any, batch: float, layers: float) -> float:
        gather = next(p for p in lower(op, NAMED["v1"], r, Context(batch, layers, 0.0)) if p.name == "gather")
        return float(miss_shares(gather.streams[0].accesses[3], r)[-1])

    assert first_touches(closed, 4096.0, 4.0) == 1.0
    assert first_touches(measured, 4096.0, 4.0) == pytest.approx(0.37, abs=1e-6)
    next_call = 1.0 - (1.0 - 1.0 / 64.0) ** 4
    assert first_touches(closed, 4.0, 1.0) > 0.7
    assert first_touches(measured, 4.0, 1.0) == pytest.approx(first_touches(closed, 4.0, 1.0), abs=next_call)


def test_the_digest_of_compiled_functions_follows_the_files(tmp_path: Path) -> None:
    source = tmp_path / "callee.py"
    module = ModuleType("callee")
    module.__file__ = str(source)
    source.write_text("A = 1\n")
    before = digest(module)
    assert digest(module) == before
    source.write_text("A = 2\n")
    assert digest(module) != before


def test_a_cache_that_keeps_all_reuses_misses_none_at_any_age() -> None:
    """However reuses are taken together: the larger of these caches was once said to miss some that the smaller one kept."""
    op = LookupFfn(512.0, 512.0, 128.0, 256.0, block=64.0, stages=4.0, table_dtype="int8", projection_dtype="int16")
    for size in (96 << 20, 192 << 20, 1 << 30):
        r = broadcastable(resolve(small_machine((32 << 10, 256 << 10, size), (8, 8, 16), 1), 1.0))
        schedule = replace(NAMED["v2"], column_stripe=64.0, prefetch_bytes=0.0)
        gather = next(p for p in lower(op, schedule, r, Context(64.0, 1.0, 0.0)) if p.name == "gather")
        assert max(float(miss_shares(access, r)[-1]) for access in gather.streams[0].accesses) <= 1e-6
