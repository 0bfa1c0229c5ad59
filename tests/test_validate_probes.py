"""From the passes of a campaign to probes: medians, what is left out, and draws that a number repeats."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.calibrate import MemoryProbe
from tests.validatecases import point
from validate.points import record_of
from validate.probes import core_probes, gemm_probes, memory_probes, resampled

GEMMS = [point("gemm_ffn", 1), point("gemm_ffn", 64, 2, library="openblas")]


def memory(kind: str, seconds: float, **fields: Any) -> dict[str, Any]:
    return {
        "kind": kind, "footprint_bytes": 4096, "threads": 1, "row_bytes": None, "prefetch_bytes": 0, "fmas_per_line": 0,
        "page_bytes": 2 << 20, "seconds_a_line": seconds, "rounds": 3, **fields,
    }  # fmt: skip


def one_pass(n: float) -> dict[str, Any]:
    """A pass whose every measurement is `n` times something."""
    return {
        "record": "pass",
        "per_cycle": {"fma_fp32": 2.0 * n, "load": n},
        "clock_hz": [[1, 4e9 * n], [2, 3e9 * n]],
        "pool_seconds": [[2, 1e-7 * n]],
        "memory": [
            memory("chase", 8e-8 * n),
            memory("write", 1e-9 * n),
            memory("read", 1e-9 * n, threads=2, page_bytes=4096),
            memory("rows", 2e-9 * n, row_bytes=512, prefetch_bytes=16384),
            memory("rows_work", 3e-9 * n, row_bytes=256, fmas_per_line=4),
            memory("copy", 1e-9 * n),
        ],
        "gemm": [{"point": record_of(p), "seconds": n * s} for p, s in zip(GEMMS, (1e-6, 1e-3), strict=True)],
    }


PASSES = [one_pass(n) for n in (3.0, 1.0, 2.0, 1.5, 90.0)]
"""Median 2, quartiles 1.5 and 3; the last one was disturbed."""


def test_core_probes_are_medians_over_passes() -> None:
    found = core_probes(PASSES)
    assert found.clock_hz == ((1.0, 8e9), (2.0, 6e9))
    assert found.per_cycle == {"fma_fp32": 4.0, "load": 2.0}
    assert found.barrier_seconds == ((2.0, pytest.approx(2e-7)),)
    assert found.vector_bytes == 64.0


def test_a_median_is_of_each_number_by_itself() -> None:
    passes = [one_pass(n) for n in (1.0, 2.0, 3.0)]
    passes[0]["per_cycle"]["load"] = 50.0
    assert core_probes(passes).per_cycle == {"fma_fp32": 4.0, "load": 3.0}


def test_a_core_without_the_widest_loads_has_vectors_of_32_bytes() -> None:
    found = one_pass(1.0)
    found["per_cycle"] = {"load_256": 2.0}
    assert core_probes([found]).vector_bytes == 32.0


def test_memory_probes_are_medians_in_the_words_of_the_closed_forms() -> None:
    """Kinds that these do not know are left out, and shift no other probe."""
    spread = (3.0 - 1.5) / 2.0
    probes = memory_probes(PASSES)
    expected = [
        MemoryProbe("chase", 4096.0, 1, 1.6e-7, spread),
        MemoryProbe("sweep", 4096.0, 2, 2e-9, spread, page_2m=0.0),
        MemoryProbe("rows", 4096.0, 1, 4e-9, spread, 512.0, 16384.0),
        MemoryProbe("rows", 4096.0, 1, 6e-9, spread, 256.0, 0.0, 4.0),
    ]
    assert [(p.kind, p.footprint_bytes, p.threads, p.row_bytes) for p in probes] == [
        (p.kind, p.footprint_bytes, p.threads, p.row_bytes) for p in expected
    ]
    for found, wanted in zip(probes, expected, strict=True):
        assert found.seconds_a_line == pytest.approx(wanted.seconds_a_line)
        assert found.spread == pytest.approx(wanted.spread)
        assert (found.prefetch_bytes, found.multiply_adds, found.page_2m) == (
            wanted.prefetch_bytes, wanted.multiply_adds, wanted.page_2m,
        )  # fmt: skip


def test_one_pass_has_no_spread() -> None:
    assert [p.spread for p in memory_probes([one_pass(1.0)])] == [0.0] * 4


def test_gemm_probes_are_medians_by_layer() -> None:
    found = gemm_probes(PASSES)
    assert [p for p, _ in found] == GEMMS
    assert [s for _, s in found] == pytest.approx([2e-6, 2e-3])


def test_a_draw_is_told_by_its_number() -> None:
    passes = [{"pass": n} for n in range(7)]
    drawn = [[p["pass"] for p in resampled(passes, draw)] for draw in range(12)]
    assert drawn == [[p["pass"] for p in resampled(passes, draw)] for draw in range(12)]
    assert len({tuple(one) for one in drawn}) == 12
    assert {n for one in drawn for n in one} == set(range(7))
    assert all(len(one) == 7 for one in drawn)
    assert any(len(set(one)) < 7 for one in drawn)  # with replacement
