"""predict(machine, workload) -> Prediction: the library's front door.

Words (ARCHITECTURE.md): `batch` tokens per call; `seconds_per_call` covers all layers; `seconds_per_token_layer` is the
unit of tables. FFN only, LayerNorm included, residual excluded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simulator import lower_gemm, lower_lookup, mapper
from simulator.analytic import RESOURCES, PhaseTime, layer_seconds, phase_time
from simulator.incore import multiplies
from simulator.lowering import Context
from simulator.machine import Machine
from simulator.phases import Phase
from simulator.resources import Resources, broadcastable, resolve
from simulator.schedule import GemmSchedule, LookupSchedule, describe, take
from simulator.workload import PAGE_2M_BYTES, GemmFfn, LookupFfn, Workload, flop_per_token, model_bytes

if TYPE_CHECKING:
    from simulator.eventplaces import EventOptions
    from simulator.eventprogram import EventProgram
    from simulator.events import EventRun

Engine = Literal["analytic", "events"]
ENGINES: tuple[Engine, ...] = ("analytic", "events")
Schedule = GemmSchedule | LookupSchedule


class PredictionError(ValueError):
    """A machine and a workload that do not go together (too many threads, a model larger than memory)."""


@dataclass(frozen=True)
class PhasePrediction:
    """One phase of one layer of one call. Terms before overlap, for the slowest core; `seconds` is after overlap."""

    name: str
    seconds: float
    core_seconds: float
    level_seconds: dict[str, float]
    memory_seconds: float
    synchronisation_seconds: float
    transfer_seconds: float = 0.0
    """Hand-overs of lines that several cores write."""
    stack_seconds: dict[str, float] | None = None
    """Of the event engine: `seconds` by what its cores did and waited for, mean over them (`EventRun.stack`)."""


@dataclass(frozen=True)
class Prediction:
    """What one operator costs on one machine.

    `traffic_bytes`: bytes per layer and call that came from each level ('L2', 'L3', ..., 'memory', write-backs
    included). `native`: the machine has the instructions of the dtype; otherwise they were emulated.
    `arithmetic_intensity`: FLOP per byte from memory (infinity when nothing comes from memory).
    """

    machine_id: str
    machine: str
    workload: str
    form: Literal["gemm", "lookup"]
    dtype: str
    engine: str
    batch: float
    threads: float
    layers: float
    residency: str
    seconds_per_call: float
    seconds_per_token_layer: float
    tokens_per_second: float
    flop_per_token_layer: float
    arithmetic_intensity: float
    roofline_seconds_per_call: float
    frequency_hz: float
    native: bool
    schedule: Schedule
    schedule_text: str
    phases: tuple[PhasePrediction, ...]
    traffic_bytes: dict[str, float]


@singledispatch
def lower(operator: Any, schedule: Any, resources: Resources, context: Context) -> tuple[Phase, ...]:
    """Phases of one call of one layer of `operator` under `schedule`."""
    raise TypeError(f"no lowering for {type(operator).__name__}")


lower.register(GemmFfn, lower_gemm.lower_gemm)
lower.register(LookupFfn, lower_lookup.lower_lookup)


def dtype_label(operator: GemmFfn | LookupFfn) -> str:
    """'bf16' for a GEMM, 'int16/int8' (projection/tables) for a look-up."""
    if isinstance(operator, GemmFfn):
        return operator.dtype
    return f"{operator.projection_dtype}/{operator.table_dtype}"


def is_native(operator: GemmFfn | LookupFfn, machine: Machine) -> bool:
    """Whether the machine multiplies this dtype without emulation."""
    vector = machine.core.vector
    has = {
        "fp32": True,
        "bf16": bool(np.all(vector.dot_bf16_per_cycle)) or "amx_bf16" in machine.isa,
        "int16": bool(np.all(vector.dot_int16_per_cycle)),
        "int8": bool(np.all(vector.dot_int8_per_cycle)) or "amx_int8" in machine.isa,
    }
    if isinstance(operator, GemmFfn):
        return has["int8" if operator.dtype.startswith("int") else operator.dtype]
    return has[operator.projection_dtype] and (operator.table_dtype != "int8" or has["int8"])


def thread_count(machine: Machine, workload: Workload) -> Any:
    """Threads of the workload; all physical cores of one socket where it names none."""
    return machine.cores_per_socket if workload.threads is None else workload.threads


def context_of(workload: Workload) -> Context:
    """Surroundings of one call: batch, layers that compete for the caches, eviction between layers."""
    hot = workload.residency == "hot"
    return Context(
        batch=workload.batch,
        layers=1.0 if hot else workload.layers,
        evicted_bytes=0.0 if hot else workload.evicted_bytes_between_layers,
        page_2m=(workload.page_bytes >= PAGE_2M_BYTES) * 1.0,
    )


def _check(machine: Machine, workload: Workload, threads: Any) -> None:
    cores = machine.cores_per_socket * machine.sockets
    if np.any(np.asarray(threads) > cores):
        raise PredictionError(
            f"{np.max(threads):g} threads do not fit {machine.id or machine.name}: it has {np.min(cores):g} physical cores"
        )
    sockets = np.ceil(threads / machine.cores_per_socket)
    needed = model_bytes(workload)
    if np.any(needed > machine.memory.capacity_bytes * sockets):
        raise PredictionError(
            f"{workload.name} needs {np.max(needed) / 2**30:.4g} GiB, "
            f"{machine.id or machine.name} has {np.min(machine.memory.capacity_bytes) / 2**30:.4g} GiB a socket"
        )
    if np.any(np.asarray(threads) < 1) or np.any(np.asarray(workload.batch) < 1):
        raise PredictionError("threads and batch must be at least 1")


def evaluate(machine: Machine, workload: Workload, schedule: Schedule, ideal: frozenset[str] = frozenset()) -> Any:
    """seconds_per_call under a fixed schedule; arrays in machine (points,) give (points, 1)."""
    resources = broadcastable(resolve(machine, thread_count(machine, workload)))
    phases = lower(workload.operator, schedule, resources, context_of(workload))
    return layer_seconds(phases, resources, ideal) * workload.layers


def predict_points(machine: Machine, workload: Workload) -> tuple[Any, Any]:
    """(seconds_per_call, index of the chosen schedule) for points in one vectorised pass, mapper included.

    Numeric fields of `machine`, `workload.batch`, `workload.threads` may be arrays of shape (points,).
    """
    threads = thread_count(machine, workload)
    _check(machine, workload, threads)
    resources = broadcastable(resolve(machine, np.asarray(threads, dtype=float) if np.ndim(threads) else threads))
    context = context_of(workload)
    context = replace(
        context, batch=_column(context.batch), layers=_column(context.layers), page_2m=_column(context.page_2m)
    )
    phases = lower(workload.operator, mapper.candidates(workload.operator), resources, context)
    seconds = layer_seconds(phases, resources) * context_layers(workload)
    choice = mapper.first_best(seconds)
    best = np.take_along_axis(seconds, np.atleast_1d(choice)[..., None], axis=-1)[..., 0]
    return best, choice


def _column(value: Any) -> Any:
    return np.asarray(value, dtype=float)[:, None] if np.ndim(value) == 1 else value


def context_layers(workload: Workload) -> Any:
    """Layers of the model as a broadcastable number."""
    return _column(workload.layers)


def predict(
    machine: Machine,
    workload: Workload,
    engine: Engine = "analytic",
    *,
    schedule: Schedule | str | None = None,
) -> Prediction:
    """Time and traffic of `workload` on `machine`; the mapper chooses the schedule unless one is given, itself or by name
    ('v1' to 'v5', 'published'; look-up only).

    `engine`: closed forms, or 'events': the schedule is chosen by the closed forms and timed by the event engine.
    Raises PredictionError when the threads or the name do not exist. Time stack, binding resource and intervals:
    `simulator.explain`.
    """
    if engine not in ENGINES:
        raise PredictionError(f"engine {engine!r} does not exist: choose from {', '.join(ENGINES)}")
    if engine == "events":
        return predict_events(machine, workload, schedule=schedule)[0]
    threads = thread_count(machine, workload)
    _check(machine, workload, threads)
    resources = broadcastable(resolve(machine, threads))
    context = context_of(workload)
    operator = workload.operator
    if isinstance(schedule, str):
        schedule = _named(schedule, operator)
    searched = schedule is None
    chosen: Schedule = mapper.candidates(operator) if schedule is None else schedule
    phases = lower(operator, chosen, resources, context)
    times = tuple(phase_time(phase, resources) for phase in phases)
    total = sum(t.total for t in times)
    index = int(mapper.first_best(total)) if searched else 0
    if searched:
        chosen = take(chosen, index)
    layer = _at(total, index)
    flop = float(flop_per_token(operator))
    traffic = _traffic(times, index)
    from_memory = traffic["memory"]
    return Prediction(
        machine_id=machine.id,
        machine=machine.name,
        workload=workload.id or workload.name,
        form="gemm" if isinstance(operator, GemmFfn) else "lookup",
        dtype=dtype_label(operator),
        engine="analytic",
        batch=float(workload.batch),
        threads=float(threads),
        layers=float(workload.layers),
        residency=workload.residency,
        seconds_per_call=layer * workload.layers,
        seconds_per_token_layer=layer / workload.batch,
        tokens_per_second=workload.batch / (layer * workload.layers),
        flop_per_token_layer=flop,
        arithmetic_intensity=flop * workload.batch / from_memory if from_memory else float("inf"),
        roofline_seconds_per_call=_roofline_seconds(phases, times, resources, index) * workload.layers,
        frequency_hz=float(resources.vector_hz),
        native=is_native(operator, machine),
        schedule=chosen,
        schedule_text=describe(chosen),
        phases=tuple(_phase_prediction(t, index) for t in times if _at(t.total, index) > 0.0),
        traffic_bytes=traffic,
    )


def predict_events(
    machine: Machine,
    workload: Workload,
    options: EventOptions | None = None,
    *,
    schedule: Schedule | str | None = None,
) -> tuple[Prediction, EventRun]:
    """`predict` by the event engine, with its run of one layer and call: time stack, stations, timeline.

    Traffic and the terms before overlap are those of the closed forms; seconds are the event engine's.
    """
    from simulator.events import run_program  # SimPy is loaded only where it is asked for

    base = predict(machine, workload, schedule=schedule)
    run = run_program(event_program(machine, workload, base.schedule, options))
    took = {phase.name: phase for phase in run.phases}
    prediction = replace(
        base,
        engine="events",
        seconds_per_call=run.seconds * workload.layers,
        seconds_per_token_layer=run.seconds / workload.batch,
        tokens_per_second=workload.batch / (run.seconds * workload.layers),
        phases=tuple(
            replace(phase, seconds=took[phase.name].seconds, stack_seconds=took[phase.name].stack_seconds)
            for phase in base.phases
        ),
    )
    return prediction, run


def event_program(
    machine: Machine, workload: Workload, schedule: Schedule, options: EventOptions | None = None
) -> EventProgram:
    """What the event engine runs for one layer and call under a schedule."""
    from simulator.eventplaces import EventOptions
    from simulator.eventplan import make_program
    from simulator.eventskew import skewed

    resources = broadcastable(resolve(machine, thread_count(machine, workload)))
    chosen = options or EventOptions()
    if chosen.smt > resources.smt_threads:
        raise PredictionError(
            f"{chosen.smt} threads a core do not fit {machine.id or machine.name}: its cores have {resources.smt_threads:g}"
        )
    phases = lower(workload.operator, schedule, resources, context_of(workload))
    return make_program(phases, resources, skewed(chosen, workload.operator, float(workload.batch), resources))


def _named(name: str, operator: GemmFfn | LookupFfn) -> LookupSchedule:
    try:
        return mapper.named_schedule(name, operator)
    except ValueError as error:
        raise PredictionError(str(error)) from None


def _at(value: Any, index: int) -> float:
    """Candidate `index` of a number that may or may not depend on the schedule."""
    if isinstance(value, np.ndarray):
        return float(value.flat[index if value.size > 1 else 0])
    return float(value)


def _roofline_seconds(phases: tuple[Phase, ...], times: tuple[PhaseTime, ...], r: Resources, index: int) -> float:
    """Lower bound of one layer: multiply-adds at the peak of all cores, or memory traffic at the theoretical peak."""
    arithmetic = 0.0
    for phase in phases:
        tiles = _at(phase.work.macs_tile, index)
        hz = r.tile_hz if tiles > 0.0 else r.vector_hz
        cycles = _at(multiplies(phase.work, r).cycles, index)
        if tiles > 0.0:
            cycles += tiles * phase.work.tile_element_bytes / r.tile_bytes_per_cycle
        arithmetic += cycles / r.threads / hz
    memory = sum(_at(t.memory_bytes, index) for t in times) / r.memory_peak_bytes_per_second
    return max(arithmetic, float(memory))


def _traffic(times: tuple[PhaseTime, ...], index: int) -> dict[str, float]:
    count = len(times[0].level_bytes)
    traffic = {f"L{i + 2}": sum(_at(t.level_bytes[i], index) for t in times) for i in range(count)}
    traffic["memory"] = sum(_at(t.memory_bytes, index) for t in times)
    return traffic


def _phase_prediction(time: PhaseTime, index: int) -> PhasePrediction:
    return PhasePrediction(
        name=time.name,
        seconds=_at(time.total, index),
        core_seconds=_at(time.core, index),
        level_seconds={f"L{i + 2}": _at(s, index) for i, s in enumerate(time.levels)},
        memory_seconds=_at(time.memory, index),
        synchronisation_seconds=_at(time.synchronisation, index),
        transfer_seconds=_at(time.transfers, index),
    )


__all__ = [
    "RESOURCES",
    "Prediction",
    "PredictionError",
    "evaluate",
    "lower",
    "predict",
    "predict_events",
    "predict_points",
]
