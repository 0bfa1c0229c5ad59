"""A machine's parameters from microbenchmarks: each has its probe, all of them together are then fitted to all memory probes.

Nothing here measures, and no kernel that is to be predicted has a say. What a probe cannot tell stays as the spec has it, and the
report says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.analytic import phase_time
from simulator.machine import DEFAULT_INTERVALS, Clock, Machine, Provenance, Rate
from simulator.microbench import Probe, probe_phase
from simulator.misscurves import KNOTS, rising, with_curves
from simulator.resources import broadcastable, resolve

ROBUST = 0.1
"""Residuals beyond it, in natural logarithms, count by their size instead of its square."""

DIRECT = 0.06
"""How far a latency may move from what its chase says, as a natural logarithm: other probes know it only together with more."""

STEP, LARGEST_MOVE = 1e-3, 0.7
"""Of a logarithm: for slopes, and at most from one sample of probes to another."""

PRIOR = 0.01
"""How much a natural logarithm's distance from the first guess counts, in natural logarithms of a probe's time."""

NOISE_FLOOR = 0.03
"""No probe is believed to better than this."""

LEAST_INTERVAL = 0.01
"""No interval of a fitted value is narrower."""

MEASURED_INTERVAL = DEFAULT_INTERVALS["measured"]
_SPEC_NAMES = {
    "exp_cycles_per_vector": "exp_per_vector",
    "load_bytes_per_cycle": "load_bandwidth",
    "store_bytes_per_cycle": "store_bandwidth",
}

OVERLAP = {
    "row_overlap_cache": 1.2,
    "row_overlap_memory": 1.0,
    "kernel_overlap_cache": 2.0,
    "kernel_overlap_memory": 1.0,
}
"""Exponents of how a gather's arithmetic hides behind its rows, and a projection's behind its weights: chosen on development
points (docs/validation.md). Loops with work on each line, which have nothing else to do, hide more (1.9 to 2.8 from caches):
theirs are fitted with the other parameters, and these take their place."""

LONGEST_ROW_BYTES = 1024.0
"""Rows beyond it are not fitted: no table of a look-up layer has longer pieces, and streams have sweeps of their own."""

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
        return float(predicted_seconds([self], machine)[0])


def predicted_seconds(probes: Sequence[MemoryProbe], machine: Machine) -> NDArray[np.float64]:
    """Seconds a line of each probe by the closed forms, those of one kind and number of threads at once."""
    found = np.empty(len(probes))
    groups: dict[tuple[Kind, int], list[int]] = {}
    for index, p in enumerate(probes):
        groups.setdefault((p.kind, p.threads), []).append(index)
    for (kind, threads), places in groups.items():
        r = broadcastable(resolve(machine, float(threads)))

        def column(name: str, places: list[int] = places) -> NDArray[np.float64]:
            return np.array([getattr(probes[i], name) for i in places])

        probe = Probe(
            kind, column("footprint_bytes"), column("row_bytes"), column("page_2m"), column("prefetch_bytes"),
            multiply_adds=column("multiply_adds"),
        )  # fmt: skip
        found[places] = phase_time(probe_phase(probe, r), r).total / probe.reads
    return found


@dataclass(frozen=True)
class CoreProbes:
    """Measured in the core: clock by active cores, then what an instruction does in a cycle (absent: not measured)."""

    clock_hz: tuple[tuple[float, float], ...]
    per_cycle: dict[str, float]
    vector_bytes: float
    barrier_seconds: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Fitted:
    """One parameter by its path in a spec: what that had (None: nothing), what it is now, its bounds, its 90 % interval over
    other samples."""

    name: str
    before: float | None
    after: float
    low: float
    high: float
    probe: str
    low_90: float
    high_90: float

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
    draws: tuple[Machine, ...] = ()
    """The machine by other samples of the same probes."""

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

    return _Parameter(f"core.{path}", lambda m: float(getattr(m.core, name) or low), put, low, high, probe)


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


def _overlap(name: str) -> _Parameter:
    """An exponent of how arithmetic hides behind rows in the probes; the one of memory is never the larger one."""

    def put(m: Machine, value: float) -> Machine:
        changes: dict[str, Any] = {name: value}
        software = replace(m.software, **changes)
        near, far = software.row_overlap_cache, software.row_overlap_memory
        if near is not None and far is not None:
            software = replace(software, row_overlap_memory=min(near, far))
        return replace(m, software=software)

    def get(m: Machine) -> float:
        value = getattr(m.software, name)
        return float(getattr(m.software, name.replace("row", "kernel")) if value is None else value)

    return _Parameter(f"software.{name}", get, put, 1.0, 8.0, "rows with work")


def _efficiency() -> _Parameter:
    def put(m: Machine, value: float) -> Machine:
        return replace(m, software=replace(m.software, kernel_efficiency=value))

    name = "software.kernel_efficiency"
    return _Parameter(name, lambda m: m.software.kernel_efficiency, put, 0.5, 1.0, "rows with work in the first level")


def _knot(level: str, kind: Literal["cyclic", "random"], index: int) -> _Parameter:
    """A point of a miss curve, as a share of misses."""
    field = f"{kind}_miss_curve"

    def put(m: Machine, value: float) -> Machine:
        cache = getattr(m.caches, level)
        curve = [*getattr(cache, field)]
        curve[index] = (curve[index][0], value)
        changes: dict[str, Any] = {field: tuple(curve)}
        return replace(m, caches=replace(m.caches, **{level: replace(cache, **changes)}))

    def get(m: Machine) -> float:
        return float(getattr(getattr(m.caches, level), field)[index][1])

    probe = "chase, sweep" if kind == "cyclic" else "rows"
    return _Parameter(f"caches.{level}.{field}[{index}]", get, put, 1e-4, 1.0, probe)


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
    _core("row_load_share", "row_load_share", 0.3, 1.0, "rows in the first level"),
    _core("vector_window_uops", "vector_window_uops", 30.0, 600.0, "rows"),
    _prefetcher("row_lines_in_flight", 1.0, 256.0, "rows"),
    _prefetcher("stream_lines_in_flight", 1.0, 512.0, "sweep"),
    _prefetcher("software_lines_in_flight", 4.0, 512.0, "rows"),
    _overlap("row_overlap_cache"),
    _overlap("row_overlap_memory"),
    _efficiency(),
    *(_knot(level, "cyclic", index) for level, knots in KNOTS.items() for index in range(1, len(knots) - 1)),
    *(_knot(level, "random", index) for level, knots in KNOTS.items() for index in range(1, len(knots) - 1)),
)
"""What memory probes tell, with bounds wide enough for any server of the last ten years."""


def calibrate(
    machine: Machine, core: CoreProbes, memory: Sequence[MemoryProbe], samples: Sequence[Sequence[float]] = ()
) -> Calibration:
    """The machine with what the probes say in place of its own values. Raises ValueError where no probe was measured.

    samples: other measurements of the same probes (seconds a line each), which give the intervals and the draws.
    """
    if not core.clock_hz:
        raise ValueError("no clock was measured: times cannot be turned into cycles")
    measured = with_curves(with_core(machine, core))
    large = max((p.page_2m for p in memory), default=1.0)  # with small pages the translation has a say too
    places = [index for index, p in enumerate(memory) if p.page_2m == large and _tells(p, measured)]
    steady = [memory[index] for index in places]
    if not any(p.kind == "chase" for p in steady) or not any(p.kind == "sweep" for p in steady):
        raise ValueError("no chase or no sweep was measured inside a level")
    wanted, refused = [], []
    for parameter in PARAMETERS:
        if reason := _why_not(parameter, measured, steady):
            refused.append(f"{parameter.name}: {reason}; kept")
        else:
            wanted.append(parameter)
    fit = _Fit(measured, wanted, steady)
    logs = fit.solved()
    moved = fit.moved(logs, [np.asarray(sample)[places] for sample in samples])
    best = fit.at(logs)
    fitted = []
    for k, p in enumerate(wanted):
        value = p.get(best)
        low, high = np.exp(np.quantile([m[k] for m in moved], (0.05, 0.95))) if moved else (value, value)
        low, high = min(low, value), max(high, value)
        before = None if "miss_curve" in p.name else p.get(machine)  # no spec has the points of the fit
        fitted.append(Fitted(p.name, before, value, p.low, p.high, p.probe, float(low), float(high)))
    sources = _sources(fitted, bool(moved))
    best = replace(best, status="calibrated", provenance={**best.provenance, **sources})
    found = np.log(predicted_seconds(memory, best) / [p.seconds_a_line for p in memory])
    residuals = tuple((p, float(r)) for p, r in zip(memory, found, strict=True))
    draws = tuple(_with_overlap(fit.at(m)) for m in moved)
    return Calibration(_with_overlap(best), tuple(fitted), tuple(refused), residuals, draws)


def _with_overlap(machine: Machine) -> Machine:
    source = Provenance("estimated", "chosen on development points of python -m validate", 0.1)
    changes: dict[str, Any] = dict(OVERLAP)
    paths = [f"software.{name}" for name in OVERLAP]
    provenance = {**machine.provenance, **dict.fromkeys(paths, source)}
    return replace(machine, software=replace(machine.software, **changes), provenance=provenance)


def _sources(fitted: Sequence[Fitted], sampled: bool) -> dict[str, Provenance]:
    """Provenance by path; a curve has the widest interval of its points."""
    found: dict[str, Provenance] = {}
    for f in fitted:
        path = f.name.partition("[")[0]
        width = max(LEAST_INTERVAL, (f.high_90 / f.low_90) ** 0.5 - 1.0) if sampled else MEASURED_INTERVAL
        if path in found:
            width = max(width, found[path].interval)
        found[path] = Provenance("measured", f"fitted to {f.probe} probes", round(width, 4))
    if any(f.name.startswith("caches.L3.cyclic") for f in fitted):
        found["caches.L3.available_fraction"] = Provenance("measured", "the miss curves say what is available", 0.0)
    return found


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
    """Whether a probe has a say: in the first level and at its end rows alone do, and only well inside it."""
    first = machine.caches.L1.size_bytes
    near = p.footprint_bytes <= 1.2 * first
    return p.row_bytes <= LONGEST_ROW_BYTES and (not near or (p.kind == "rows" and p.footprint_bytes <= 0.6 * first))


def _why_not(parameter: _Parameter, machine: Machine, probes: Sequence[MemoryProbe]) -> str:
    """Why the probes cannot tell a parameter, '' if they can."""
    if parameter.name.startswith("caches.L3") and machine.caches.L3 is None:
        return "there is no third level"
    together = parameter.name.endswith(("shared_bandwidth", "read_bandwidth"))
    if together and not any(p.threads > 1 for p in probes):
        return "one core cannot load what cores share"
    if "miss_curve" in parameter.name:
        return _why_no_knot(parameter, machine, probes)
    if parameter.probe.endswith("in the first level"):
        first, work = machine.caches.L1.size_bytes, parameter.probe.startswith("rows with work")
        near = [p for p in probes if p.kind == "rows" and p.footprint_bytes < first]
        return "" if any(not work or p.multiply_adds > 1.0 for p in near) else f"no {parameter.probe} were measured"
    if parameter.name.startswith("software.row_overlap") and not any(p.multiply_adds > 1.0 for p in probes):
        return "no rows with work on each line were measured"
    if parameter.name.endswith("window_uops") and not any(p.multiply_adds > 1.0 for p in probes):
        return "no rows with work on each line were measured"
    if parameter.name.endswith("software_lines_in_flight") and not any(p.prefetch_bytes for p in probes):
        return "no rows were prefetched"
    return ""


def _guessed(machine: Machine, probes: Sequence[MemoryProbe]) -> Machine:
    """Bandwidths as the fastest sweeps have them, latencies as chases: from a value that bounds nothing no fit finds its way."""
    levels = resolve(machine, 1.0).levels
    second, last = levels[1].capacity_bytes, levels[-1].capacity_bytes
    most = max(p.threads for p in probes)

    def fastest(low: Any, high: Any, threads: int) -> float:
        found = [
            64.0 * p.threads / p.seconds_a_line
            for p in probes
            if p.kind == "sweep" and p.threads == threads and low <= p.footprint_bytes * p.threads <= high
        ]
        return max(found, default=0.0)

    def chase(low: Any, high: Any, most: bool = False) -> float:
        found = [
            p.seconds_a_line
            for p in probes
            if p.kind == "chase" and p.threads == 1 and low <= p.footprint_bytes <= high
        ]
        return (max(found) if most else min(found)) if found else 0.0

    known = {
        "caches.L2.latency": chase(0.0, 0.55 * second),
        "caches.L3.latency": chase(
            4.5 * second, 0.25 * last, most=True
        ),  # nearer ones are partly found in the second level
        "memory.latency": chase(3.0 * last, np.inf),
        "caches.L2.bandwidth": fastest(0.0, 0.6 * second, 1),
        "caches.L3.bandwidth": fastest(1.6 * second, 0.5 * last, 1),
        "memory.core_bandwidth": fastest(3.0 * last, np.inf, 1),
    }
    if most > 1:
        known["caches.L3.shared_bandwidth"] = 1.2 * fastest(1.6 * second, 0.5 * last, most)
        known["memory.read_bandwidth"] = 1.05 * fastest(3.0 * last, np.inf, most)
    software = replace(machine.software, row_overlap_cache=2.0, row_overlap_memory=1.2)
    machine = replace(machine, software=software)
    for parameter in PARAMETERS:
        if (value := known.get(parameter.name, 0.0)) and not (
            machine.caches.L3 is None and parameter.name.startswith("caches.L3")
        ):
            machine = parameter.put(machine, value)
    return machine


def _why_no_knot(parameter: _Parameter, machine: Machine, probes: Sequence[MemoryProbe]) -> str:
    """Why no probe tells a point of a miss curve: none came near it."""
    level = parameter.name.split(".")[1]
    cache = getattr(machine.caches, level)
    if cache is None:
        return "there is no such level"
    kinds = ("chase", "sweep") if "cyclic" in parameter.name else ("rows",)
    wanted = KNOTS[level][int(parameter.name.partition("[")[2].rstrip("]"))] * cache.size_bytes
    shared = level == "L3"
    if any(0.7 < p.footprint_bytes * (p.threads if shared else 1) / wanted < 1.5 for p in probes if p.kind in kinds):
        return ""
    return f"no {' or '.join(kinds)} of about {wanted / 2**20:.2g} MiB was measured"


class _Fit:
    """Parameters as the logarithms of a robust least squares: single probes that a neighbour disturbed count less."""

    def __init__(self, machine: Machine, wanted: Sequence[_Parameter], probes: Sequence[MemoryProbe]) -> None:
        self.machine, self.wanted, self.probes = machine, tuple(wanted), tuple(probes)
        self.weights = np.array([1.0 / max(NOISE_FLOOR, p.spread) for p in probes]) * NOISE_FLOOR
        self.measured = np.log([p.seconds_a_line for p in probes])
        self.low, self.high = (np.log([getattr(p, side) for p in wanted]) for side in ("low", "high"))
        guessed = _guessed(machine, probes)
        first = np.log([max(p.get(guessed), 1e-12) for p in wanted])
        for k, p in enumerate(wanted):
            if p.name.endswith("latency"):  # a chase says it outright
                self.low[k] = max(self.low[k], first[k] - DIRECT)
                self.high[k] = min(self.high[k], first[k] + DIRECT)
        self.start = np.clip(first, self.low + 1e-3, self.high - 1e-3)

    def at(self, logs: NDArray[np.float64]) -> Machine:
        """The machine with these parameters."""
        changed = self.machine
        for parameter, value in zip(self.wanted, np.exp(logs), strict=True):
            changed = parameter.put(changed, float(value))
        return rising(changed)

    def residuals(self, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the probes, and weakly of the first guess, so that what no probe tells stays there."""
        found = (np.log(predicted_seconds(self.probes, self.at(logs))) - self.measured) * self.weights
        return np.concatenate((found, PRIOR * (logs - self.start)))

    def solved(self) -> NDArray[np.float64]:
        """The logarithms that fit best."""
        from scipy.optimize import least_squares

        found = least_squares(
            self.residuals, self.start, bounds=(self.low, self.high), loss="soft_l1", f_scale=ROBUST, diff_step=1e-3,
            max_nfev=100,
        )  # fmt: skip
        return np.asarray(found.x)

    def moved(self, logs: NDArray[np.float64], samples: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """What the logarithms would be for other measurements of the same probes: one step of Gauss and Newton for each."""
        here = self.residuals(logs)
        slopes = np.empty((len(here), len(logs)))
        for k in range(len(logs)):
            step = np.zeros(len(logs))
            step[k] = -STEP if logs[k] + STEP > self.high[k] else STEP
            slopes[:, k] = (self.residuals(logs + step) - here) / step[k]
        share = 1.0 / np.sqrt(1.0 + (here / ROBUST) ** 2)  # of the soft loss
        normal = slopes.T @ (slopes * share[:, None])
        found = []
        for seconds in samples:
            shift = np.zeros(len(here))
            shift[: len(self.probes)] = (np.log(seconds) - self.measured) * self.weights
            change = np.linalg.lstsq(normal, slopes.T @ (share * shift), rcond=1e-10)[0]
            found.append(np.clip(logs + np.clip(change, -LARGEST_MOVE, LARGEST_MOVE), self.low, self.high))
        return found
