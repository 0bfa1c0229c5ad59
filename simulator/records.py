"""Predictions and comparisons as flat records: the stable field names of JSON and CSV output."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from simulator.comparison import GEMM_LIBRARY, Comparison, Match
from simulator.explain import Interval, TimeStack
from simulator.machine import Machine
from simulator.predict import Prediction

if TYPE_CHECKING:
    from simulator.enginereport import EngineDifference
    from simulator.events import EventRun

RECORD_VERSION = 1
UNCERTAIN = ("estimated", "announced")


def uncertain_values(machine: Machine) -> list[str]:
    """Dotted paths of the spec values that nobody measured or published."""
    return sorted(path for path, given in machine.provenance.items() if given.kind in UNCERTAIN)


def prediction_record(
    p: Prediction, stack: TimeStack | None = None, interval: Interval | None = None
) -> dict[str, Any]:
    """One prediction; seconds are for one call unless the name says otherwise."""
    record: dict[str, Any] = {
        "machine": p.machine_id,
        "machine_name": p.machine,
        "workload": p.workload,
        "form": p.form,
        "dtype": p.dtype,
        "native": p.native,
        "engine": p.engine,
        "batch": _whole(p.batch),
        "threads": _whole(p.threads),
        "layers": _whole(p.layers),
        "residency": p.residency,
        "seconds_per_call": p.seconds_per_call,
        "seconds_per_token_layer": p.seconds_per_token_layer,
        "tokens_per_second": p.tokens_per_second,
        "roofline_seconds_per_call": p.roofline_seconds_per_call,
        "flop_per_token_layer": p.flop_per_token_layer,
        "arithmetic_intensity_flop_per_byte": None if math.isinf(p.arithmetic_intensity) else p.arithmetic_intensity,
        "frequency_hz": p.frequency_hz,
        "schedule": p.schedule_text,
        "schedule_fields": asdict(p.schedule),
        "traffic_bytes_per_layer_call": p.traffic_bytes,
        "phases": [asdict(phase) for phase in p.phases],
    }
    if interval is not None:
        record["seconds_per_call_low"], record["seconds_per_call_high"] = interval.low, interval.high
    if stack is not None:
        record["time_stack_seconds"] = stack.seconds
        record["binding"], record["runner_up"] = stack.binding, stack.runner_up
    return record


def match_record(comparison: Comparison, match: Match, gemm_binding: str, lookup_binding: str) -> dict[str, Any]:
    """One look-up form against one GEMM."""
    return {
        "machine": comparison.machine_id,
        "machine_name": comparison.machine,
        "batch": _whole(comparison.batch),
        "threads": _whole(comparison.threads),
        "match": match.label,
        "gemm_library": GEMM_LIBRARY,
        "gemm_dtype": match.gemm.dtype,
        "gemm_native": match.gemm.native,
        "gemm_seconds_per_token_layer": match.gemm.seconds_per_token_layer,
        "gemm_binding": gemm_binding,
        "lookup_dtype": match.lookup.dtype,
        "lookup_native": match.lookup.native,
        "lookup_seconds_per_token_layer": match.lookup.seconds_per_token_layer,
        "lookup_binding": lookup_binding,
        "lookup_schedule": match.lookup.schedule_text,
        "speedup": match.speedup,
        "speedup_low": match.low,
        "speedup_high": match.high,
        "winner": match.winner,
    }


def difference_record(d: EngineDifference) -> dict[str, Any]:
    """Both engines on one form; seconds are of one layer and call."""
    station = d.station
    return {
        "analytic_seconds": d.analytic_seconds,
        "events_seconds": d.events_seconds,
        "events_over_analytic": d.ratio,
        "agree": d.agrees,
        "contended": d.contended,
        "reason": d.reason,
        "reason_seconds": d.reason_seconds,
        "station": None if station is None else station.name,
        "station_utilisation": None if station is None else station.utilisation,
        "station_mean_wait_seconds": None if station is None else station.mean_wait_ps * 1e-12,
    }


def station_records(run: EventRun) -> list[dict[str, Any]]:
    """Stations that packets passed, one layer and call."""
    return [
        {
            "station": s.name,
            "packets": s.packets,
            "utilisation": s.utilisation,
            "mean_wait_seconds": s.mean_wait_ps * 1e-12,
            "longest_wait_seconds": s.worst_ps * 1e-12,
            "mean_waiting_packets": s.queue,
        }
        for s in run.stations
        if s.packets
    ]


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Nested records with dotted keys, lists left out: one CSV row."""
    row: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            row.update({f"{key}.{inner}": item for inner, item in flat(value).items()})
        elif not isinstance(value, list):
            row[key] = value
    return row


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
