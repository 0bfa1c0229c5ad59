"""Groups of tables that are fetched in order, rows that cost a start, coordinates that are gathered one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.analytic import layer_seconds, phase_time
from simulator.eventplaces import EventOptions
from simulator.eventplan import make_program
from simulator.events import run_program
from simulator.lower_lookup import lower_lookup
from simulator.lowering import Context
from simulator.microbench import Probe, bytes_per_second, probe_phase
from simulator.resources import Resources, broadcastable, resolve
from simulator.schedule import NAMED, LookupSchedule, describe
from simulator.specfile import load_machine
from simulator.workload import LookupFfn

KIB, MIB = 1024.0, 1024.0**2
OP = LookupFfn(hidden=512.0, output=512.0, tables=128.0, rows=256.0)
ORDERED = replace(NAMED["v3"], prefetch_bytes=0.0, bulk=1.0)


def resources(**core: float) -> Resources:
    cpu = load_machine("amd-epyc-9755")
    return broadcastable(resolve(replace(cpu, core=replace(cpu.core, **core)), 1.0))  # type: ignore[arg-type]


def gather_bytes(schedule: LookupSchedule, batch: float) -> float:
    """Bytes from memory of the gather."""
    r = resources()
    phases = lower_lookup(OP, schedule, r, Context(batch, 4.0, 0.0))
    return float(phase_time(next(p for p in phases if p.name == "gather"), r).memory_bytes)


def test_all_of_the_tables_come_from_memory_once_a_tile() -> None:
    tables = OP.tables * OP.rows * OP.output * 4.0
    assert gather_bytes(ORDERED, 256.0) == pytest.approx(tables, rel=0.02)
    assert 1.5 * tables < gather_bytes(ORDERED, 512.0) < 2.0 * tables  # the second tile finds some in the L3
    assert gather_bytes(ORDERED, 8.0) == pytest.approx(tables, rel=0.02)  # far more than eight tokens touch
    assert gather_bytes(replace(ORDERED, bulk=0.0), 8.0) < 0.05 * tables


def test_it_pays_for_many_tokens_and_not_for_few() -> None:
    r = resources()

    def seconds(schedule: LookupSchedule, batch: float) -> float:
        return float(layer_seconds(lower_lookup(OP, schedule, r, Context(batch, 4.0, 0.0)), r))

    assert seconds(ORDERED, 2048.0) < seconds(replace(ORDERED, bulk=0.0), 2048.0)
    assert seconds(ORDERED, 4.0) > 2.0 * seconds(replace(ORDERED, bulk=0.0), 4.0)
    assert "next group fetched in order" in describe(ORDERED)


def test_machines_and_schedules_go_together() -> None:
    r = resources()
    both = LookupSchedule(
        *(np.array([a, b]) for a, b in zip(vars(ORDERED).values(), vars(NAMED["v2"]).values(), strict=True))
    )
    together = layer_seconds(lower_lookup(OP, both, r, Context(64.0, 4.0, 0.0)), r)
    alone = [layer_seconds(lower_lookup(OP, s, r, Context(64.0, 4.0, 0.0)), r) for s in (ORDERED, NAMED["v2"])]
    assert np.ravel(together) == pytest.approx([float(np.ravel(a)[0]) for a in alone], rel=1e-12)


@pytest.mark.parametrize("row_bytes", [64.0, 256.0, 2048.0])
def test_the_start_of_a_row_comes_on_top_of_its_bytes_in_both_engines(row_bytes: float) -> None:
    probe = Probe("rows", 512.0 * KIB, row_bytes, reads=1e5)
    plain, slow = resources(demand_lines_in_flight=1e6, vector_window_uops=1e9), resources(
        demand_lines_in_flight=1e6, vector_window_uops=1e9, row_start_cycles=3.0
    )  # fmt: skip
    times = [phase_time(probe_phase(probe, r), r) for r in (plain, slow)]
    rows = 1e5 * 64.0 / row_bytes
    hits = 1.0 - 48.0 / 512.0  # what the L1 does not keep
    added = float(times[1].levels[0] - times[0].levels[0])
    assert added == pytest.approx(rows * hits * 3.0 / plain.vector_hz, rel=0.02)
    run = run_program(make_program((probe_phase(probe, slow),), slow, EventOptions()))
    assert run.seconds == pytest.approx(float(times[1].total), rel=0.02)


def test_a_sweep_has_no_rows_to_start() -> None:
    probe = Probe("sweep", 512.0 * KIB)
    rates = [
        float(bytes_per_second(probe, r, phase_time(probe_phase(probe, r), r).total))
        for r in (resources(), resources(row_start_cycles=3.0))
    ]
    assert rates[0] == rates[1]


def test_work_on_a_line_takes_room_in_the_window() -> None:
    """Rows of 512 bytes from memory with K multiply-adds a line: window / (2 + K) lines at a time, once that is the least."""
    r = resources(demand_lines_in_flight=1000.0, vector_window_uops=120.0)
    for k in (8.0, 16.0):
        probe = Probe("rows", 512.0 * MIB, 512.0, multiply_adds=k)
        rate = float(bytes_per_second(probe, r, phase_time(probe_phase(probe, r), r).total))
        assert rate == pytest.approx(120.0 / (2.0 + k) * 64.0 / r.memory_latency_seconds, rel=0.25)


def test_coordinates_side_by_side_are_gathered_one_by_one() -> None:
    r = resources()

    def score(op: LookupFfn) -> float:
        phases = lower_lookup(op, NAMED["v2"], r, Context(64.0, 1.0, 0.0))
        return float(phase_time(next(p for p in phases if p.name == "code_score"), r).core)

    outputs = 64.0 * 128.0 * 9.0
    even = score(OP) * 9.0 / 8.0
    assert score(replace(OP, rows=512.0)) - even == pytest.approx(outputs / r.vector_hz, rel=0.05)
    assert score(replace(OP, projection="dense")) == score(OP)  # either projection lays codes of 8 bits in planes
    fast = replace(r, gather_per_cycle=4.0)
    phases = lower_lookup(replace(OP, rows=512.0), NAMED["v2"], fast, Context(64.0, 1.0, 0.0))
    assert float(phase_time(next(p for p in phases if p.name == "code_score"), fast).core) < score(
        replace(OP, rows=512.0)
    )
