"""Memory microbenchmarks as Phases: a pointer chase, a sweep, random rows.

Pure: a probe and the resources of some cores give a Phase, which any engine times. So the plateaus and rates that such
programs show on a real machine follow from a machine's parameters in the same way as the time of an operator does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from simulator.lowering import sharing
from simulator.phases import Access, Pattern, Phase, Stream, Work
from simulator.randomrows import alike_misses, skewed_misses
from simulator.resources import Resources
from simulator.rowreuse import Draws
from simulator.workload import IndexDistribution

Kind = Literal["chase", "sweep", "rows"]
_PATTERNS: dict[Kind, Pattern] = {"chase": "chain", "sweep": "sequential", "rows": "rows"}


@dataclass(frozen=True)
class Probe:
    """One microbenchmark; every thread has an array of its own.

    `kind`: 'chase' loads a line whose address the load before it brought, in an order that visits all lines before it comes
    round; 'sweep' reads the array from end to end, again and again; 'rows' reads runs of `row_bytes` at addresses that
    are drawn independently, alike likely and known beforehand. `page_2m`: 1 for 2 MiB pages, 0 for 4 KiB ones.
    `prefetch_bytes`: distance of software prefetches ('rows'; 0: none). `reads`: lines that one thread reads.
    `multiply_adds`: vectors of them on each line ('rows').
    """

    kind: Kind
    footprint_bytes: Any
    row_bytes: Any = 64.0
    page_2m: Any = 1.0
    prefetch_bytes: Any = 0.0
    reads: Any = 1e6
    multiply_adds: Any = 0.0
    indices: IndexDistribution = field(default_factory=IndexDistribution)


def probe_phase(probe: Probe, r: Resources) -> Phase:
    """All threads of `r` running `probe` after a warm-up: bytes are totals, nothing is shared or written.

    A chase takes the latency of the L1 a line, sweeps and rows take the load ports, a row one load more for its number; a line
    is one vector operation in the out-of-order window.
    """
    lines = probe.reads * r.threads
    size = lines * r.line_bytes
    near = probe.footprint_bytes
    chase = probe.kind == "chase"
    loaded: Any = 0.0 if chase else size
    if probe.kind == "rows":
        loaded = (size + size / probe.row_bytes * 4.0 * r.lanes) / r.row_load_share
    work = Work(
        macs_fp32=probe.multiply_adds * lines * r.lanes,
        load_bytes=loaded,
        latency_cycles=lines * r.levels[0].latency_seconds * r.vector_hz if chase else 0.0,
        efficiency=r.kernel_efficiency ** (probe.multiply_adds > 0.0),  # loops that only read reach the port's rate
    )
    stream = Stream(
        "array",
        _PATTERNS[probe.kind],
        (_access(probe, size, r),),
        row_bytes=probe.row_bytes if probe.kind == "rows" else r.line_bytes,
        uops_per_line=1.0 + probe.multiply_adds,
        prefetch_bytes=probe.prefetch_bytes,
        array_bytes=near,
        page_2m=probe.page_2m,
    )
    return Phase(name=probe.kind, work=work, streams=(stream,))


def _access(probe: Probe, size: Any, r: Resources) -> Access:
    near, copies = probe.footprint_bytes, sharing(r)  # every sharer has an array of its own
    if probe.kind != "rows":
        return Access(size, near, near * copies)
    p = Draws(probe.indices, near / probe.row_bytes).probabilities
    if p is None or any(level.random_miss_curve for level in r.levels):  # a curve knows of footprints only
        misses = alike_misses(near, copies, r)
    else:
        misses = skewed_misses(p, probe.row_bytes, copies, r)
    return Access(size, near, near * copies, misses=misses)


def nanoseconds_a_line(probe: Probe, seconds: Any) -> Any:
    """What one thread waits for a line: `seconds` of the phase over the lines that it reads."""
    return np.asarray(seconds) / probe.reads * 1e9


def bytes_per_second(probe: Probe, r: Resources, seconds: Any) -> Any:
    """What all threads read together in `seconds` of the phase."""
    return probe.reads * r.threads * r.line_bytes / np.asarray(seconds)
