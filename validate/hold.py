"""Timing of points in interleaved rounds, beside a reference kernel that tells when the machine was in another state."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.prepared import Series
from validate.calls import Calls
from validate.points import Nest, Point
from validate.probing import clock

Line = dict[str, Any]

REFERENCE = Point(
    "gather", batch=96, threads=1, tables=64, rows=256, columns=256, stripe=128, table_dtype="int8",
    nest=Nest(48, 96, 16, 0, 1, 0),
)  # fmt: skip
"""4 MiB of rows: it feels the clock, the second and third level, and neighbours."""

DRIFT = 0.2
"""A round whose reference or clock is farther from the recent median was another machine's, so to speak."""

RECENT = 21
"""Rounds that the reference is held against: a machine may change its state for good."""

MOST_REPEATED = 3
"""Rounds of one group that are repeated at most."""

PAUSE_SECONDS, SPIN_SECONDS = 0.002, 0.015
"""Before a point; longer where another kind of workers had the CPUs before it: OpenMP's spin for milliseconds after a task."""


@dataclass(frozen=True)
class Timed:
    """A point's calls, how often they are repeated in a round, and the pause before it."""

    series: Series
    repeats: int
    pause_seconds: float


@dataclass(frozen=True)
class Effort:
    """Rounds of a group, and how long a point runs in one of them."""

    rounds: int
    seconds_a_round: float


QUICK, FULL = Effort(7, 0.012), Effort(11, 0.015)


class Reference:
    """What tells the state of the machine: a kernel on one core, and the clock of all of them together, which halves where two
    virtual cores are one for a while. `seen`: (seconds, hertz) so far."""

    def __init__(self, cpus: Sequence[int]) -> None:
        self._cpus = tuple(cpus)
        self._series = Calls(cpus).of(REFERENCE)
        self._series.seconds(1)
        self.seen: list[tuple[float, float]] = []

    def drifted(self) -> tuple[float, float, bool]:
        """(its seconds now, hertz now, whether either is far from what it was)."""
        time.sleep(SPIN_SECONDS)
        seconds = min(self._series.seconds(1) for _ in range(3)) / len(self._series.calls)
        now = seconds, clock(self._cpus, fma=False)
        before = np.median(self.seen[-RECENT:], axis=0) if len(self.seen) >= 3 else now
        self.seen.append(now)
        return *now, bool(np.any(np.abs(np.divide(now, before) - 1.0) > DRIFT))


def prepare(points: Sequence[Point], calls: Calls, seconds_a_round: float) -> list[Timed]:
    """Every point's calls, warm."""
    found = []
    for index, point in enumerate(points):
        series = calls.of(point)
        time.sleep(SPIN_SECONDS)
        series.seconds(1)
        repeats = max(1, int(seconds_a_round / series.seconds(1)))
        before = points[index - 1]  # of the first one the last: rounds follow each other
        other = before.threads > 1 and before.library != point.library
        found.append(Timed(series, repeats, SPIN_SECONDS if other else PAUSE_SECONDS))
    return found


def one_round(made: Sequence[Timed]) -> list[float]:
    """Seconds of a call and layer of every point, in turn."""
    found = []
    for timed in made:
        time.sleep(timed.pause_seconds)
        if timed.repeats > 3:
            timed.series.seconds(1)
        found.append(timed.series.seconds(timed.repeats) / len(timed.series.calls))
    return found


def measure_group(
    made: Sequence[Timed],
    effort: Effort,
    reference: Reference,
    keep: Callable[[Line], None],
    done: int = 0,
) -> None:
    """Rounds until `effort.rounds` of them (`done` of them before) did not drift; each goes to `keep` at once."""
    repeated = 0
    while done < effort.rounds:
        seconds, clock_hz, drifted = reference.drifted()
        again = drifted and repeated < MOST_REPEATED
        samples = one_round(made)
        keep({"round": done, "seconds": samples, "reference_seconds": seconds, "clock_hz": clock_hz, "drifted": drifted,
              "repeated": again})  # fmt: skip
        if again:
            repeated += 1
        else:
            done += 1
