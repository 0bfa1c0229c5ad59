"""Timing on a shared machine: interleaved rounds, medians and spread; one pinned CPU a thread."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.build import BuildError
from kernels.library import KernelError, load, runnable

POOLS = ("lookup_ffn", "published")
"""Operators whose libraries have workers of their own."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call over several rounds."""

    seconds_median: float
    seconds_min: float
    seconds_iqr: float
    rounds: int


@contextmanager
def pinned() -> Iterator[None]:
    """This thread on the first CPU that it may use; kernels' own workers take the next ones.

    A pool of workers uses the CPUs of the thread that loads its library, so the libraries are loaded before this one is pinned.
    """
    for variant in (v for operator in POOLS for v in runnable(operator)):
        with contextlib.suppress(BuildError, KernelError):  # whoever needs it will say so
            load(variant)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 15,
    seconds_a_round: float = 0.02,
    limit_seconds: float = 60.0,
) -> dict[str, Timing]:
    """Times several calls in turn, so that a slow minute of the machine falls on all of them.

    A call is repeated within a round until it has run for `seconds_a_round`; the round counts its mean.
    """
    counts = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        counts[name] = max(1, int(seconds_a_round / max(time.perf_counter() - start, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for done in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            samples[name].append((time.perf_counter() - start) / counts[name])
        if done >= 2 and time.perf_counter() - begin > limit_seconds:
            break
    return {name: timing_of(times) for name, times in samples.items()}


def timing_of(times: list[float]) -> Timing:
    """Median, least and spread of several times."""
    low, middle, high = np.quantile(times, (0.25, 0.5, 0.75))
    return Timing(float(middle), min(times), float(high - low), len(times))
