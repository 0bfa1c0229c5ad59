"""Calls made beforehand: the same results as from Python, and a timer that runs all of them so often as it says."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from kernels.library import I64, function, runnable
from kernels.lookup import LookupFfn
from kernels.prepared import MOST_ARGUMENTS, Prepared, Series
from kernels.weights import random_weights

needs_kernels = pytest.mark.skipif(not runnable("gather") or not runnable("timer"), reason="no kernel runs here")


@needs_kernels
def test_the_timer_runs_every_call() -> None:
    ffn = LookupFfn(random_weights(64, 64, 8, 16), threads=1)
    x = np.random.default_rng(0).standard_normal((6, 64), dtype=np.float32)
    outputs = [np.full((6, 64), np.nan, dtype=np.float32) for _ in range(3)]
    series = Series([ffn.prepare(x, y) for y in outputs])
    assert series.seconds(2) > 0.0
    expected = ffn(x)
    for y in outputs:
        assert (y == expected).all()


@needs_kernels
def test_a_stage_and_a_gather_come_out_as_from_python() -> None:
    ffn = LookupFfn(random_weights(64, 64, 8, 16), threads=1)
    codes = np.random.default_rng(1).integers(0, 16, (5, 8)).astype(np.uint16)
    scores = np.random.default_rng(2).random((5, 8), dtype=np.float32)
    own = np.zeros((5, ffn._tables.padded_columns), dtype=np.float32)
    call, sums = ffn.gather_call(codes, scores, sums=own)
    assert sums is own
    Series([call]).seconds()
    assert (own[:, :64] == ffn.gather(codes, scores)).all()
    assert call() == -1
    codes[3, 2] = 16
    assert call() == 3 * 8 + 2  # the place of the bad code


@needs_kernels
def test_passes_are_counted_and_take_longer_together() -> None:
    """A function of the timer itself, timed: one that takes a known number of additions."""
    from kernels.timing import PeakTask

    task = PeakTask(100_000)
    one = Prepared(function("peak", "peak_clock"), (task,))
    assert one() >= 100_000  # additions done
    single, several = Series([one]), Series([one] * 4)
    single.seconds(3)
    assert min(several.seconds(3) for _ in range(5)) > 2.0 * min(single.seconds(3) for _ in range(5))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 12 arguments, got 13"):
        Prepared(None, [0] * (MOST_ARGUMENTS + 1))
    with pytest.raises(ValueError, match="at least one call"):
        Series([])


def test_structures_are_passed_by_address() -> None:
    number = I64(3)
    assert Prepared(None, (number, 7))._words == [ctypes.addressof(number), 7]
