"""Calibration on made-up machines: what their own probes say leads back to their parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.calibrate import NOISE_FLOOR, OVERLAP, CoreProbes, MemoryProbe, calibrate, with_core
from simulator.machine import Duration, Machine, Rate
from simulator.misscurves import rising, with_curves
from simulator.specdump import values
from simulator.specfile import load_machine

KIB, MIB = 1024.0, 1024.0**2
AROUND = tuple(share * 32 * MIB for share in (0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.5, 2.0, 4.0))
SECOND = tuple(share * MIB for share in (0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0))
CORE = CoreProbes(
    clock_hz=((1.0, 3.5e9), (8.0, 3.2e9)),
    per_cycle={"fma_fp32": 1.9, "dot_bf16": 1.0, "add_int": 3.5, "exp_vectors": 0.2, "load": 2.0, "store": 1.0},
    vector_bytes=64.0,
    barrier_seconds=((2.0, 3e-7), (8.0, 5e-7)),
)


def hidden() -> Machine:
    """A machine that differs from the shipped one in everything that memory probes tell."""
    cpu = with_core(load_machine("amd-epyc-9755"), CORE)
    caches = replace(
        cpu.caches,
        L2=replace(cpu.caches.L2, latency=Duration(cycles=18.0), bandwidth=Rate(bytes_per_cycle=48.0)),
        L3=replace(
            cpu.caches.L3, latency=Duration(cycles=70.0), bandwidth=Rate(bytes_per_cycle=16.0),
            shared_bandwidth=Rate(bytes_per_cycle=80.0),
        ),
    )  # fmt: skip
    curved = with_curves(replace(cpu, caches=caches))
    last, second = curved.caches.L3, curved.caches.L2
    assert last is not None
    half = (*((x, 0.6 * y) for x, y in second.cyclic_miss_curve[:-1]), second.cyclic_miss_curve[-1])
    caches = replace(curved.caches, L2=replace(second, cyclic_miss_curve=half), L3=last)
    return replace(
        rising(replace(cpu, caches=caches)),
        core=replace(
            cpu.core, demand_lines_in_flight=17.0, vector_window_uops=90.0, row_start_cycles=1.5, row_load_share=0.8
        ),
        software=replace(cpu.software, kernel_efficiency=0.9, row_overlap_cache=2.5, row_overlap_memory=1.5),
        prefetcher=replace(
            cpu.prefetcher, row_lines_in_flight=12.0, stream_lines_in_flight=40.0, software_lines_in_flight=50.0
        ),
        memory=replace(
            cpu.memory, latency_seconds=1.1e-7, core_bandwidth_bytes_per_second=6e10,
            read_bandwidth_bytes_per_second=1.5e11, link_bandwidth_bytes_per_second=None,
        ),
    )  # fmt: skip


def probes(machine: Machine, noise: float, threads: tuple[int, ...] = (1, 8)) -> list[MemoryProbe]:
    """What the machine's probes would say, with log-normal noise."""
    random = np.random.default_rng(7)
    found = []
    work = (1.0, 2.0, 4.0, 8.0, 16.0)
    for n in threads:
        wanted = [
            MemoryProbe("sweep", size, n, 1.0, noise) for size in (384 * KIB, *(s / n for s in AROUND), 512 * MIB)
        ]
        wanted += [MemoryProbe("chase", size, n, 1.0, noise) for size in (*SECOND, *(s / n for s in AROUND), 512 * MIB)]
        for row in (64.0, 512.0, 1024.0):
            sizes = (16 * KIB, *SECOND, *(s / n for s in AROUND), 512 * MIB)
            wanted += [MemoryProbe("rows", size, n, 1.0, noise, row) for size in sizes]
            wanted += [MemoryProbe("rows", size, n, 1.0, noise, row, 16384.0) for size in (6 * MIB / n, 512 * MIB)]
        wanted += [MemoryProbe("rows", size, n, 1.0, noise, 512.0, 0.0, k)
                   for size in (16 * KIB, 6 * MIB / n, 512 * MIB) for k in work]  # fmt: skip
        found += [replace(p, seconds_a_line=p.predicted(machine) * random.lognormal(0.0, noise)) for p in wanted]
    return found


def test_a_hidden_machine_is_found_again() -> None:
    truth = hidden()
    base = replace(load_machine("amd-epyc-9755"), memory=truth.memory)
    base = replace(
        base,
        memory=replace(base.memory, latency_seconds=1.6e-7, core_bandwidth_bytes_per_second=3e10,
                       read_bandwidth_bytes_per_second=4e11),
    )  # fmt: skip
    found = calibrate(base, CORE, probes(truth, 0.02))
    got, want = found.machine, truth
    assert got.status == "calibrated"
    assert not found.refused
    hz = 3.5e9
    for name, have, should in (
        ("L2 latency", got.caches.L2.latency.at(hz), want.caches.L2.latency.at(hz)),
        ("L2 bandwidth", got.caches.L2.bandwidth.at(hz), want.caches.L2.bandwidth.at(hz)),
        ("L3 bandwidth", got.caches.L3.bandwidth.at(hz), want.caches.L3.bandwidth.at(hz)),  # type: ignore[union-attr]
        ("L3 latency", got.caches.L3.latency.at(hz), want.caches.L3.latency.at(hz)),  # type: ignore[union-attr]
        ("latency", got.memory.latency_seconds, want.memory.latency_seconds),
        ("demand lines", got.core.demand_lines_in_flight, 17.0),
        ("window", got.core.vector_window_uops, 90.0),
        ("row start", got.core.row_start_cycles, 1.5),
        ("row lines", got.prefetcher.row_lines_in_flight, 12.0),
        ("read bandwidth", got.memory.read_bandwidth_bytes_per_second, 1.5e11),
        ("row loads", got.core.row_load_share, 0.8),
        ("efficiency", got.software.kernel_efficiency, 0.9),
    ):
        assert have == pytest.approx(should, rel=0.12), name
    assert found.mean_residual < NOISE_FLOOR
    assert {p.kind for p, _ in found.residuals} == {"chase", "sweep", "rows"}
    stated = {v.path: v.provenance for v in values(got)}
    measured = ["clock.scalar", "core.vector.exp_per_vector", "core.load_bandwidth", "software.barrier"]
    for path in (*measured, *(f.name.partition("[")[0] for f in found.fitted)):
        chosen = path.startswith("software.row_overlap")  # what a gather hides is not what a probe hides
        assert stated[path] is not None, path
        assert stated[path].kind == ("estimated" if chosen else "measured"), path
    assert got.software.row_overlap_cache == OVERLAP["row_overlap_cache"]


def test_one_disturbed_probe_does_not_lead_astray() -> None:
    truth = hidden()
    measured = probes(truth, 0.01)
    worst = next(i for i, p in enumerate(measured) if p.kind == "chase" and p.footprint_bytes == 512 * MIB)
    measured[worst] = replace(measured[worst], seconds_a_line=3.0 * measured[worst].seconds_a_line)
    found = calibrate(load_machine("amd-epyc-9755"), CORE, measured)
    assert found.machine.memory.latency_seconds == pytest.approx(1.1e-7, rel=0.1)
    assert max(found.residuals, key=lambda item: abs(item[1]))[0] is measured[worst]


def test_miss_curves_are_found_again() -> None:
    truth = hidden()
    got = calibrate(load_machine("amd-epyc-9755"), CORE, probes(truth, 0.01)).machine
    assert truth.caches.L3 is not None and got.caches.L3 is not None  # noqa: PT018
    for have, want in ((got.caches.L2, truth.caches.L2), (got.caches.L3, truth.caches.L3)):
        for field, room in (("cyclic_miss_curve", 0.2), ("random_miss_curve", 0.25)):
            found, true = (np.array(getattr(cache, field)) for cache in (have, want))
            assert np.abs(np.interp(true[:6, 0], *found.T) - true[:6, 1]).max() < 0.05, (
                field
            )  # where a few misses decide
            assert np.all(np.diff(found[:, 1]) >= 0.0)
            assert np.abs(np.interp(true[:, 0], *found.T) - true[:, 1]).max() < room, field


def test_samples_give_intervals_that_hold_the_truth() -> None:
    truth = hidden()
    measured = probes(truth, 0.02)
    random = np.random.default_rng(5)
    samples = [[p.seconds_a_line * random.lognormal(0.0, 0.02) for p in measured] for _ in range(20)]
    found = calibrate(load_machine("amd-epyc-9755"), CORE, measured, samples)
    assert len(found.draws) == 20
    given = {f.name: f for f in found.fitted}
    latency = given["memory.latency"]
    assert latency.low_90 < latency.after < latency.high_90
    assert latency.high_90 / latency.low_90 < 1.25
    assert latency.low_90 / 1.05 < 1.1e-7 < latency.high_90 * 1.05
    assert len({m.memory.latency_seconds for m in found.draws}) > 8


def test_what_probes_cannot_tell_is_refused_in_words() -> None:
    truth = hidden()
    alone = [p for p in probes(truth, 0.01, threads=(1,)) if not p.multiply_adds and not p.prefetch_bytes]
    alone = [p for p in alone if p.footprint_bytes > 256 * KIB]
    base = load_machine("amd-epyc-9755")
    found = calibrate(base, CORE, alone)
    reasons = dict(line.split(": ", 1) for line in found.refused)
    assert reasons["memory.read_bandwidth"].startswith("one core cannot load what cores share")
    assert reasons["core.vector_window_uops"].startswith("no rows with work")
    assert reasons["prefetcher.software_lines_in_flight"].startswith("no rows were prefetched")
    assert reasons["core.row_load_share"].startswith("no rows in the first level")
    assert reasons["software.kernel_efficiency"].startswith("no rows with work in the first level")
    assert found.machine.core.vector_window_uops == base.core.vector_window_uops
    with pytest.raises(ValueError, match="no chase or no sweep"):
        calibrate(base, CORE, [p for p in alone if p.kind != "chase"])
    with pytest.raises(ValueError, match="no clock was measured"):
        calibrate(base, replace(CORE, clock_hz=()), alone)


def test_core_probes_replace_rates_and_barriers() -> None:
    base = load_machine("amd-epyc-9755")
    got = with_core(base, CORE)
    assert got.clock.scalar == CORE.clock_hz
    assert got.core.vector.fma_per_cycle == 1.9
    assert got.core.vector.exp_cycles_per_vector == pytest.approx(5.0)
    assert got.core.load_bytes_per_cycle == 128.0
    assert got.core.vector.dot_int8_per_cycle == base.core.vector.dot_int8_per_cycle  # was not measured
    assert got.software.barrier.seconds + 1.0 * got.software.barrier_per_doubling.seconds == pytest.approx(3e-7)
    assert got.software.barrier.seconds + 3.0 * got.software.barrier_per_doubling.seconds == pytest.approx(5e-7)
    assert base.clock.scalar != got.clock.scalar  # nothing is changed in place
