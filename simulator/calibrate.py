"""A machine's parameters from microbenchmarks: each has its probe, all of them together are then fitted to all memory probes.

Nothing here measures, and no kernel that is to be predicted has a say. What a probe cannot tell stays as the spec has it, and the
report says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from simulator.analytic import phase_time
from simulator.machine import DEFAULT_INTERVALS, Clock, Machine, Provenance, Rate
from simulator.microbench import Probe, probe_phase
from simulator.resources import broadcastable, resolve

NOISE_FLOOR = 0.03
"""No probe is believed to better than this."""

MEASURED_INTERVAL = DEFAULT_INTERVALS["measured"]
_SPEC_NAMES = {
    "exp_cycles_per_vector": "exp_per_vector",
    "load_bytes_per_cycle": "load_bandwidth",
    "store_bytes_per_cycle": "store_bandwidth",
}

FAR_FROM_CAPACITY = (0.5, 3.0)
"""Shares of the last level between which its miss curve decides, and the other parameters are not fitted."""

Kind = Literal["chase", "sweep", "rows"]


@dataclass(frozen=True)
class MemoryProbe:
    """One measured memory probe; `seconds_a_line`: of one thread, `spread` its quartiles' distance over its median."""

    kind: Kind
    footprint_bytes: float
    threads: int
    seconds_a_line: float
    spread: float
    row_bytes: float = 64.0
    prefetch_bytes: float = 0.0
    multiply_adds: float = 0.0
    page_2m: float = 1.0

    def predicted(self, machine: Machine) -> float:
        """Seconds a line by the closed forms."""
        r = broadcastable(resolve(machine, float(self.threads)))
        probe = Probe(
            self.kind, self.footprint_bytes, self.row_bytes, self.page_2m, self.prefetch_bytes,
            multiply_adds=self.multiply_adds,
        )  # fmt: skip
        return float(phase_time(probe_phase(probe, r), r).total / probe.reads)


@dataclass(frozen=True)
class CoreProbes:
    """Measured in the core: clock by active cores, then what an instruction does in a cycle (absent: not measured)."""

    clock_hz: tuple[tuple[float, float], ...]
    per_cycle: dict[str, float]
    vector_bytes: float
    barrier_seconds: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Fitted:
    """One parameter by its path in a spec: what that had, what it is now, its bounds, whether the fit ended on one of them."""

    name: str
    before: float
    after: float
    low: float
    high: float
    probe: str

    @property
    def at_bound(self) -> bool:
        """A bound that holds a parameter is a doubt about the model or the probe."""
        return min(self.after / self.low, self.high / self.after) < 1.005


@dataclass(frozen=True)
class Calibration:
    """A calibrated machine, how it came about, and how well it tells the probes (log ratio of predicted over measured)."""

    machine: Machine
    fitted: tuple[Fitted, ...]
    refused: tuple[str, ...]
    residuals: tuple[tuple[MemoryProbe, float], ...]

    @property
    def mean_residual(self) -> float:
        """Mean absolute residual."""
        return float(np.mean([abs(r) for _, r in self.residuals])) if self.residuals else 0.0


@dataclass(frozen=True)
class _Parameter:
    name: str
    get: Callable[[Machine], float]
    put: Callable[[Machine, float], Machine]
    low: float
    high: float
    probe: str


def _core(name: str, path: str, low: float, high: float, probe: str) -> _Parameter:
    def put(m: Machine, value: float) -> Machine:
        changes: dict[str, Any] = {name: value}
        return replace(m, core=replace(m.core, **changes))

    return _Parameter(f"core.{path}", lambda m: float(getattr(m.core, name) or 0.0), put, low, high, probe)


def _prefetcher(name: str, low: float, high: float, probe: str) -> _Parameter:
    def put(m: Machine, value: float) -> Machine:
        changes: dict[str, Any] = {name: value}
        return replace(m, prefetcher=replace(m.prefetcher, **changes))

    return _Parameter(f"prefetcher.{name}", lambda m: float(getattr(m.prefetcher, name)), put, low, high, probe)


def _memory(name: str, path: str, low: float, high: float, probe: str) -> _Parameter:
    def put(m: Machine, value: float) -> Machine:
        changes: dict[str, Any] = {name: value}
        return replace(m, memory=replace(m.memory, **changes))

    def get(m: Machine) -> float:
        value = getattr(m.memory, name)
        return float(m.memory.read_bandwidth_bytes_per_second if value is None else value)

    return _Parameter(f"memory.{path}", get, put, low, high, probe)


def _cache(
    level: str, part: Literal["latency", "bandwidth", "shared_bandwidth"], low: float, high: float
) -> _Parameter:
    """A latency or bandwidth of a cache, kept in seconds of the clock at hand."""

    def hz(m: Machine) -> float:
        return float(m.clock.scalar[0][1])

    def put(m: Machine, value: float) -> Machine:
        cache = getattr(m.caches, level)
        if part == "latency":
            changed = replace(cache, latency=replace(cache.latency, cycles=value * hz(m), seconds=0.0))
        else:
            rate: dict[str, Any] = {part: Rate(bytes_per_cycle=value / hz(m))}
            changed = replace(cache, **rate)
        return replace(m, caches=replace(m.caches, **{level: changed}))

    def get(m: Machine) -> float:
        value = getattr(getattr(m.caches, level), part)
        return float(value.at(hz(m))) if value is not None else high

    return _Parameter(f"caches.{level}.{part}", get, put, low, high, "chase" if part == "latency" else "sweep")


PARAMETERS: tuple[_Parameter, ...] = (
    _cache("L2", "latency", 1e-9, 2e-8),
    _cache("L2", "bandwidth", 2e10, 1e12),
    _cache("L3", "latency", 4e-9, 2e-7),
    _cache("L3", "bandwidth", 5e9, 4e11),
    _cache("L3", "shared_bandwidth", 5e9, 4e12),
    _memory("latency_seconds", "latency", 4e-8, 5e-7, "chase"),
    _memory("core_bandwidth_bytes_per_second", "core_bandwidth", 2e9, 3e11, "sweep"),
    _memory("read_bandwidth_bytes_per_second", "read_bandwidth", 5e9, 2e12, "sweep"),
    _core("demand_lines_in_flight", "demand_lines_in_flight", 4.0, 128.0, "rows"),
    _core("row_start_cycles", "row_start", 0.01, 8.0, "rows"),
    _core("vector_window_uops", "vector_window_uops", 30.0, 600.0, "rows"),
    _prefetcher("row_lines_in_flight", 1.0, 256.0, "rows"),
    _prefetcher("stream_lines_in_flight", 1.0, 512.0, "sweep"),
    _prefetcher("software_lines_in_flight", 4.0, 512.0, "rows"),
)
"""What memory probes tell, with bounds wide enough for any server of the last ten years."""


def calibrate(machine: Machine, core: CoreProbes, memory: Sequence[MemoryProbe]) -> Calibration:
    """The machine with what the probes say in place of its own values. Raises ValueError where no probe was measured."""
    if not core.clock_hz:
        raise ValueError("no clock was measured: times cannot be turned into cycles")
    measured = with_core(machine, core)
    steady = [p for p in memory if _tells(p, measured)]
    refused = []
    if not any(p.kind == "chase" for p in steady) or not any(p.kind == "sweep" for p in steady):
        raise ValueError("no chase or no sweep was measured away from the last level's capacity")
    wanted = []
    for parameter in PARAMETERS:
        if reason := _why_not(parameter, measured, steady):
            refused.append(f"{parameter.name}: {reason}; kept")
        else:
            wanted.append(parameter)
    fitted_machine, fitted = _fit(measured, wanted, steady)
    residuals = tuple((p, float(np.log(p.predicted(fitted_machine) / p.seconds_a_line))) for p in memory)
    return Calibration(replace(fitted_machine, status="calibrated"), fitted, tuple(refused), residuals)


def with_core(machine: Machine, core: CoreProbes) -> Machine:
    """Clock, instruction rates and barriers as measured."""
    vector = machine.core.vector
    rates = {
        "fma_per_cycle": "fma_fp32",
        "dot_bf16_per_cycle": "dot_bf16",
        "dot_int16_per_cycle": "dot_int16",
        "dot_int8_per_cycle": "dot_int8",
        "alu_per_cycle": "add_int",
    }
    found: dict[str, Any] = {field: core.per_cycle[name] for field, name in rates.items() if name in core.per_cycle}
    found = {field: value for field, value in found.items() if getattr(vector, field) > 0.0}
    if "exp_vectors" in core.per_cycle:
        found["exp_cycles_per_vector"] = 1.0 / core.per_cycle["exp_vectors"]
    changes: dict[str, Any] = {"vector": replace(vector, **found)}
    for field, name in (("load_bytes_per_cycle", "load"), ("store_bytes_per_cycle", "store")):
        if name in core.per_cycle:
            changes[field] = core.per_cycle[name] * core.vector_bytes
    software = machine.software
    if core.barrier_seconds:
        least = min(core.barrier_seconds)
        steps = [(np.log2(n / 2.0), s) for n, s in core.barrier_seconds if n > least[0]]
        per_doubling = max(0.0, float(np.mean([(s - least[1]) / d for d, s in steps]))) if steps else 0.0
        first = max(0.0, least[1] - per_doubling * np.log2(least[0]))
        software = replace(
            software,
            barrier=replace(software.barrier, cycles=0.0, seconds=float(first)),
            barrier_per_doubling=replace(software.barrier_per_doubling, cycles=0.0, seconds=per_doubling),
        )
    clock = Clock(scalar=tuple(core.clock_hz), base_hz=machine.clock.base_hz)
    paths = ["clock.scalar", *(f"core.vector.{_SPEC_NAMES.get(field, field)}" for field in found)]
    paths += [f"core.{_SPEC_NAMES[field]}" for field in changes if field != "vector"]
    paths += ["software.barrier", "software.barrier_per_doubling"] if core.barrier_seconds else []
    source = {path: Provenance("measured", "in-core microbenchmarks", MEASURED_INTERVAL) for path in paths}
    return replace(
        machine,
        clock=clock,
        core=replace(machine.core, **changes),
        software=software,
        provenance={**machine.provenance, **source},
    )


def _tells(p: MemoryProbe, machine: Machine) -> bool:
    """Whether a probe lies clearly inside a level: beyond the first one, away from capacities, with pages that all TLBs reach."""
    levels = resolve(machine, float(p.threads)).levels
    if p.footprint_bytes <= 1.2 * levels[0].capacity_bytes:
        return False
    together = p.footprint_bytes * (p.threads if len(levels) > 2 else 1.0)
    inside, outside = FAR_FROM_CAPACITY
    last = levels[-1].capacity_bytes
    near_last = inside * last < together < outside * last
    near_second = 0.6 < p.footprint_bytes / levels[1].capacity_bytes < 1.6
    return not near_last and not near_second and p.page_2m > 0.0


def _why_not(parameter: _Parameter, machine: Machine, probes: Sequence[MemoryProbe]) -> str:
    """Why the probes cannot tell a parameter, '' if they can."""
    if parameter.name.startswith("caches.L3") and machine.caches.L3 is None:
        return "there is no third level"
    together = parameter.name.endswith(("shared_bandwidth", "read_bandwidth"))
    if together and not any(p.threads > 1 for p in probes):
        return "one core cannot load what cores share"
    if parameter.name.endswith("window_uops") and not any(p.multiply_adds > 1.0 for p in probes):
        return "no rows with work on each line were measured"
    if parameter.name.endswith("software_lines_in_flight") and not any(p.prefetch_bytes for p in probes):
        return "no rows were prefetched"
    return ""


def _fit(
    machine: Machine, wanted: Sequence[_Parameter], probes: Sequence[MemoryProbe]
) -> tuple[Machine, tuple[Fitted, ...]]:
    """Least squares of log ratios, robust against single probes that a neighbour disturbed."""
    from scipy.optimize import least_squares

    weights = np.array([1.0 / max(NOISE_FLOOR, p.spread) for p in probes]) * NOISE_FLOOR
    measured = np.log([p.seconds_a_line for p in probes])
    low, high = (np.log([getattr(p, side) for p in wanted]) for side in ("low", "high"))
    start = np.clip(np.log([max(p.get(machine), 1e-12) for p in wanted]), low + 1e-3, high - 1e-3)

    def at(logs: Any) -> Machine:
        changed = machine
        for parameter, value in zip(wanted, np.exp(logs), strict=True):
            changed = parameter.put(changed, float(value))
        return changed

    def residuals(logs: Any) -> Any:
        changed = at(logs)
        return (np.log([p.predicted(changed) for p in probes]) - measured) * weights

    found = least_squares(
        residuals, start, bounds=(low, high), loss="soft_l1", f_scale=0.1, diff_step=1e-3, max_nfev=40
    )
    changed = at(found.x)
    fitted = tuple(
        Fitted(p.name, p.get(machine), float(np.exp(x)), p.low, p.high, p.probe)
        for p, x in zip(wanted, found.x, strict=True)
    )
    source = {p.name: Provenance("measured", f"fitted to {p.probe} probes", MEASURED_INTERVAL) for p in wanted}
    return replace(changed, provenance={**machine.provenance, **source}), fitted
