"""GEMM against look-up on one machine: every dtype, the winner at equal dtype and best against best.

A winner is named only where the 90 % interval of the ratio leaves 1 out; both sides see the same draws of the spec's
uncertain values, so what they share cancels. Otherwise the match is a tie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from simulator.explain import sample_seconds
from simulator.machine import Machine
from simulator.predict import Engine, Prediction, evaluate, predict
from simulator.workload import Workload, with_dtype

EQUAL_DTYPES = ("fp32", "bf16", "int8")
GEMM_DTYPES = (*EQUAL_DTYPES, "int8-weight-only", "int4-weight-only")
GEMM_LIBRARY = "blocked library GEMM with oneDNN-like efficiency"
"""What the GEMM side stands for; named wherever a winner is."""


@dataclass(frozen=True)
class Match:
    """One look-up form against one GEMM. `speedup` = GEMM time / look-up time; `low`, `high`: its 90 % interval."""

    label: str
    gemm: Prediction
    lookup: Prediction
    speedup: float
    low: float
    high: float

    @property
    def winner(self) -> Literal["lookup", "gemm", "tie"]:
        """The faster form, or 'tie' where the interval of the ratio contains 1."""
        if self.low > 1.0:
            return "lookup"
        return "gemm" if self.high < 1.0 else "tie"


@dataclass(frozen=True)
class Comparison:
    """Both forms of one FFN on one machine at one batch and thread count."""

    machine_id: str
    machine: str
    batch: float
    threads: float
    gemm: tuple[Prediction, ...]
    lookup: tuple[Prediction, ...]
    matches: tuple[Match, ...]
    """Equal dtype (fp32, bf16, int8), then 'best'."""

    @property
    def best(self) -> Match:
        """The fastest GEMM against the fastest look-up form."""
        return self.matches[-1]


def compare(
    machine: Machine,
    gemm: Workload,
    lookup: Workload,
    *,
    dtypes: tuple[str, ...] = EQUAL_DTYPES,
    gemm_dtypes: tuple[str, ...] = GEMM_DTYPES,
    samples: int = 200,
    engine: Engine = "analytic",
) -> Comparison:
    """Predicts every dtype of both workloads (their batch, threads and residency) and matches them.

    With the event engine the interval is that of the closed forms, moved to the event engine's ratio.
    """
    gemm_runs = [(w, predict(machine, w, engine)) for w in (with_dtype(gemm, d) for d in gemm_dtypes)]
    lookup_runs = [(w, predict(machine, w, engine)) for w in (with_dtype(lookup, d) for d in dtypes)]
    drawn = sample_seconds(machine, gemm_runs + lookup_runs, samples)
    gemm_draws, lookup_draws = drawn[: len(gemm_runs)], drawn[len(gemm_runs) :]

    def match(label: str, g: int, k: int) -> Match:
        ratio = gemm_draws[g] / lookup_draws[k]
        a, b = gemm_runs[g][1], lookup_runs[k][1]
        speedup = a.seconds_per_call / b.seconds_per_call
        moved = 1.0 if engine == "analytic" else speedup / _analytic_ratio(machine, gemm_runs[g], lookup_runs[k])
        low, high = (float(v) * moved for v in np.quantile(ratio, (0.05, 0.95)))
        return Match(label, a, b, speedup, low, high)

    matches = [match(d, gemm_dtypes.index(d), i) for i, d in enumerate(dtypes) if d in gemm_dtypes]
    matches.append(match("best", _fastest(gemm_runs), _fastest(lookup_runs)))
    first = gemm_runs[0][1]
    return Comparison(
        machine_id=machine.id,
        machine=machine.name,
        batch=first.batch,
        threads=first.threads,
        gemm=tuple(p for _, p in gemm_runs),
        lookup=tuple(p for _, p in lookup_runs),
        matches=tuple(matches),
    )


def _analytic_ratio(machine: Machine, a: tuple[Workload, Prediction], b: tuple[Workload, Prediction]) -> float:
    """Ratio of the two by the closed forms, schedules kept."""
    first, second = (float(np.max(evaluate(machine, w, p.schedule))) for w, p in (a, b))
    return first / second


def _fastest(runs: list[tuple[Workload, Prediction]]) -> int:
    return min(range(len(runs)), key=lambda i: runs[i][1].seconds_per_call)


def at(workload: Workload, **changes: Any) -> Workload:
    """`workload` with another batch, threads, residency or evicted bytes."""
    return replace(workload, **changes)
