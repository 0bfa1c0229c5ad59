"""Operators into Phases: the one place where an operator, a schedule and a machine's resources meet.

`lower` dispatches on the operator. What is common to both forms (LayerNorm, who shares which bytes) stands here; each
form has its own module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.phases import Access, Phase, Stream, Work
from simulator.resources import Resources

FAR = 1e18
"""A reuse distance that no cache bridges: data that another core wrote."""


@dataclass(frozen=True)
class Context:
    """What surrounds one call: tokens, layers cycled (1 = hot), bytes that other operators evict between two layers;
    whether large arrays lie in 2 MiB pages."""

    batch: Any
    layers: Any
    evicted_bytes: Any
    page_2m: Any = 1.0


def sharing(r: Resources) -> Any:
    """Active cores on one instance of the outermost shared cache (1 where there is none)."""
    sharers: Any = 1.0
    for level in r.levels:
        if level.shared is False:
            continue
        sharers = level.sharers if level.shared is True else np.where(level.shared, level.sharers, sharers)
    return sharers


def imbalance(units: Any, threads: Any) -> Any:
    """Slowest thread's share over the mean when `units` equal pieces go to `threads` threads."""
    return np.ceil(units / threads) * threads / units


def dealt(units: Any, threads: Any) -> dict[str, Any]:
    """`imbalance`, `workers` and `pieces` of a phase of `units` equal pieces."""
    return {"imbalance": imbalance(units, threads), "workers": units, "pieces": np.ceil(units / threads)}


def dealt_pieces(units: Any, size: Any, threads: Any) -> dict[str, Any]:
    """The same for pieces of `size` units, the last one smaller, each taken by the thread that is free first."""
    whole = np.floor(units / size + 1e-9)
    rounds = np.floor(whole / threads + 1e-9)
    rest = units - whole * size
    most = np.where(whole > rounds * threads, (rounds + 1.0) * size, rounds * size + rest)
    return {
        "imbalance": np.maximum(most * threads / units, 1.0),
        "workers": np.minimum(np.ceil(units / size - 1e-9), threads),
        "pieces": np.ceil(most / size - 1e-9),
    }


LONG_LATENCY = 3.0
"""Latency of a division or square root in that of a multiply-add (10 to 14 cycles against 4 on Zen 4)."""


def across_lanes(r: Resources) -> Any:
    """Cycles until one number comes of a vector of partial results: a shuffle (half a multiply-add's latency) and an
    operation for each halving, and two more operations over the four vectors that hide the latency of the sum."""
    return r.fma_latency_cycles * (1.5 * np.log2(r.lanes) + 2.0)


def layer_norm(hidden: Any, r: Resources, context: Context) -> Phase:
    """LayerNorm over `hidden`: mean, variance and scaling are three passes over a token that stays in L1, each waiting for
    the one before: two sums across lanes, two divisions and a square root that nothing hides."""
    elements = context.batch * hidden
    waits = 2.0 * across_lanes(r) + 3.0 * LONG_LATENCY * r.fma_latency_cycles
    per_core = 8.0 * elements / r.threads
    return Phase(
        name="layer_norm",
        work=Work(
            alu=4.0 * elements,
            macs_fp32=2.0 * elements,
            load_bytes=20.0 * elements,  # the token three times, its scale and shift
            store_bytes=4.0 * elements,
            chain_cycles=context.batch * waits,
            efficiency=r.kernel_efficiency,
        ),
        streams=(
            sequential("input", 4.0 * elements, per_core, per_core * sharing(r)),
            sequential("normalised", 4.0 * elements, per_core, per_core * sharing(r), writes=1.0),
        ),
        **dealt(context.batch, r.threads),
        library_calls=1.0,
    )


def sequential(name: str, size: Any, core_distance: Any, shared_distance: Any, writes: float = 0.0) -> Stream:
    """A stream with a single reuse distance."""
    return Stream(name, "sequential", (Access(size, core_distance, shared_distance),), writes=writes)
