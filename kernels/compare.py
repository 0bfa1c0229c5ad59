"""Look-up against GEMM, measured: every pair of precisions, interleaved in one run, each side with its best schedule.

A sequence of calls stands for a network: `layers` layers one after another (mode 'model'), or the first one alone (mode 'hot'),
on fresh tokens each time, because the rows of the last call would otherwise still lie in the caches.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np

from kernels.errors import OutputError, gemm_error, lookup_error
from kernels.gemm import GemmDtype, GemmFfn, GemmWeights, random_gemm_weights
from kernels.gemmlibrary import Library
from kernels.lookup import LookupFfn
from kernels.measure import Timing, pinned, timing_of
from kernels.packing import Dtype
from kernels.plan import Plan, variant_of
from kernels.published import PublishedFfn
from kernels.tables import TableDtype
from kernels.timing import usable_cpus
from kernels.weights import LookupWeights, random_weights

Mode = Literal["model", "hot"]
LOOKUPS: tuple[tuple[Dtype, TableDtype], ...] = (
    ("fp32", "fp32"), ("fp32", "int8"), ("bf16", "bf16"), ("int16", "bf16"), ("int16", "int8"), ("int8", "int8"),
)  # fmt: skip
GEMMS: tuple[tuple[Library, GemmDtype], ...] = (
    ("onednn", "fp32"),
    ("onednn", "bf16"),
    ("onednn", "int8"),
    ("openblas", "fp32"),
)
STRIPES = {"fp32": (64, 128, 256), "bf16": (64, 128, 256), "int8": (64, 128, 512)}
TOKEN_TILES = (256, 1024, 1 << 20)
PUBLISHED_FROM = 64
"""Tokens a call from which the published loops make sense: they go in chunks of 64."""
FRESH_TOKENS = 1024
"""At least so many tokens before the same inputs come again."""
LARGEST_SETS = 256
SETTLE_SECONDS = 0.004
"""Between two contenders: worker threads of the last one stop spinning."""


@dataclass(frozen=True)
class Shape:
    """One FFN in both forms: d = `hidden`, h = `intermediate`, T tables of R rows, `layers` of them."""

    hidden: int = 512
    intermediate: int = 2048
    tables: int = 128
    rows: int = 256
    layers: int = 4


@dataclass(frozen=True)
class Group:
    """Everything that is interleaved in one run."""

    batch: int
    threads: int
    mode: Mode


@dataclass(frozen=True)
class Contender:
    """One form on one precision: `calls[i]` runs the whole sequence on the i-th set of tokens."""

    key: tuple[str, ...]
    schedule: str
    variant: str
    calls: Sequence[Callable[[], None]]


@dataclass
class Bench:
    """Weights and packed layers of a run, made when first needed. `note` is told what goes on."""

    shape: Shape = field(default_factory=Shape)
    note: Callable[[str], None] = lambda _: None
    seed: int = 0
    cpus: tuple[int, ...] = field(default_factory=usable_cpus)
    _lookup_weights: list[LookupWeights] = field(default_factory=list)
    _gemm_weights: list[GemmWeights] = field(default_factory=list)
    _layers: dict[tuple[Any, ...], list[Any]] = field(default_factory=dict)

    @property
    def lookup_weights(self) -> list[LookupWeights]:
        """Random weights of every look-up layer."""
        s = self.shape
        while len(self._lookup_weights) < s.layers:
            seed = self.seed + len(self._lookup_weights)
            self._lookup_weights.append(random_weights(s.hidden, s.hidden, s.tables, s.rows, seed=seed))
        return self._lookup_weights

    @property
    def gemm_weights(self) -> list[GemmWeights]:
        """Random weights of every dense layer."""
        while len(self._gemm_weights) < self.shape.layers:
            seed = self.seed + len(self._gemm_weights)
            self._gemm_weights.append(random_gemm_weights(self.shape.hidden, self.shape.intermediate, seed))
        return self._gemm_weights

    def lookups(self, projection: Dtype, table: TableDtype, stripe: int, threads: int) -> list[LookupFfn]:
        """All look-up layers in one precision and layout."""
        key = ("look-up", projection, table, stripe)
        if key not in self._layers:
            self.note(f"packing {projection}/{table}, stripes of {stripe}")
            self._layers[key] = [
                LookupFfn(w, projection=projection, table=table, stripe=stripe) for w in self.lookup_weights
            ]
        for layer in self._layers[key]:
            layer.threads = threads  # of the calls prepared from now on
        return self._layers[key]

    def gemms(self, library: Library, dtype: GemmDtype, tile: int, threads: int) -> list[GemmFfn]:
        """All dense layers through one library."""
        key = ("gemm", library, dtype, tile, threads)
        if key not in self._layers:
            make = [
                GemmFfn(w, library=library, dtype=dtype, token_tile=tile, threads=threads, cpus=self.cpus)
                for w in self.gemm_weights
            ]
            self._layers[key] = make
        return self._layers[key]

    def published(self, threads: int) -> list[PublishedFfn]:
        """All look-up layers by the published loops."""
        key = ("published", threads)
        if key not in self._layers:
            self._layers[key] = [PublishedFfn.from_weights(w, threads=threads) for w in self.lookup_weights]
        return self._layers[key]


@dataclass(frozen=True)
class Inputs:
    """Fresh tokens: x [sets, layers, B, d], and one output a layer."""

    x: Any
    y: Any

    def sequences(self, mode: Mode, prepare: Callable[[int, Any, Any], Callable[[], Any]]) -> list[Callable[[], None]]:
        """One call a set: prepare(layer, x, y) gives the call of one layer; 'hot' has the first layer alone."""
        sets, layers = self.x.shape[:2]
        order = range(layers) if mode == "model" else (0,) * layers
        return [
            _in_turn([prepare(layer, self.x[s, i], self.y[i]) for i, layer in enumerate(order)]) for s in range(sets)
        ]


def _in_turn(calls: Sequence[Callable[[], Any]]) -> Callable[[], None]:
    def run() -> None:
        for call in calls:
            call()

    return run


def inputs(shape: Shape, batch: int, seed: int = 17) -> Inputs:
    """Standard normal tokens of one batch size."""
    sets = max(1, min(LARGEST_SETS, FRESH_TOKENS // batch))
    x = np.random.default_rng(seed).standard_normal((sets, shape.layers, batch, shape.hidden), dtype=np.float32)
    return Inputs(x, np.empty(x.shape[1:], dtype=np.float32))


def seconds_of(calls: Sequence[Callable[[], None]], seconds: float) -> float:
    """Mean time of one sequence, over whole passes through all sets until `seconds` have gone by."""
    begin, done = time.perf_counter(), 0
    while True:
        for call in calls:
            call()
        done += len(calls)
        gone = time.perf_counter() - begin
        if gone >= seconds:
            return gone / done


def interleave(contenders: Sequence[Contender], rounds: int, seconds: float) -> dict[tuple[str, ...], Timing]:
    """Times all contenders in turn, round after round."""
    samples: dict[tuple[str, ...], list[float]] = {c.key: [] for c in contenders}
    for _ in range(rounds):
        for c in contenders:
            time.sleep(SETTLE_SECONDS)
            c.calls[0]()
            samples[c.key].append(seconds_of(c.calls, seconds))
    return {key: timing_of(times) for key, times in samples.items()}


def best_of(offers: Sequence[Contender], seconds: float = 0.01) -> Contender:
    """The fastest of several schedules of one contender, chosen in a run of its own: a third stays after each heat, in which
    those that are left are timed more often."""
    left, rounds = list(offers), 1
    while len(left) > 1:
        found = interleave(left, rounds, seconds)
        left.sort(key=lambda c: found[c.key].seconds_min)
        left, rounds = left[: max(1, len(left) // 3)], rounds + 2
    return left[0]


def lookup_offers(
    bench: Bench, group: Group, data: Inputs, projection: Dtype, table: TableDtype
) -> Iterator[Contender]:
    """Every candidate schedule of one look-up precision."""
    for stripe in STRIPES[table]:
        layers = bench.lookups(projection, table, stripe, group.threads)
        for plan in layers[0].plans(group.batch):
            calls = data.sequences(group.mode, functools.partial(_prepared, layers, plan))
            key = ("look-up", projection, table, f"{stripe}", f"{plan}")
            yield Contender(key, _words(plan, stripe), variant_of(plan, group.batch), calls)


def _prepared(layers: Sequence[Any], plan: Plan | None, layer: int, x: Any, y: Any) -> Callable[[], Any]:
    return cast(Callable[[], Any], layers[layer].prepare(x, y) if plan is None else layers[layer].prepare(x, y, plan))


def _words(p: Plan, stripe: int) -> str:
    bulk = ("none", "by code", "in order")[p.bulk]
    return (
        f"tiles of {p.token_tile} tokens, groups of {p.table_group} tables, {stripe} columns, near {p.near_tokens}, "
        f"next group {bulk}"
    )


def gemm_offers(bench: Bench, group: Group, data: Inputs, library: Library, dtype: GemmDtype) -> Iterator[Contender]:
    """One GEMM precision in tiles of several sizes."""
    for tile in sorted({min(tile, group.batch) for tile in TOKEN_TILES}):
        layers = bench.gemms(library, dtype, tile, group.threads)
        calls = data.sequences(group.mode, functools.partial(_prepared, layers, None))
        yield Contender(("gemm", library, dtype, f"{tile}"), f"tiles of {tile} tokens", "", calls)


def contenders(bench: Bench, group: Group, data: Inputs) -> list[Contender]:
    """Each form and precision with its best schedule."""
    found = []
    for projection, table in LOOKUPS:
        bench.note(f"batch {group.batch}, {group.threads} thread(s), {group.mode}: schedules of {projection}/{table}")
        best = best_of(list(lookup_offers(bench, group, data, projection, table)))
        found.append(Contender(("look-up", projection, table), best.schedule, best.variant, best.calls))
    for library, dtype in GEMMS:
        best = best_of(list(gemm_offers(bench, group, data, library, dtype)))
        found.append(Contender(("gemm", library, dtype), best.schedule, "", best.calls))
    if group.mode == "hot" and group.batch >= PUBLISHED_FROM:
        layers = bench.published(group.threads)
        calls = data.sequences(group.mode, functools.partial(_prepared, layers, None))
        found.append(Contender(("published", "fp32", "fp32"), "as published", "published", calls))
    return found


def errors(bench: Bench) -> dict[tuple[str, ...], OutputError]:
    """Output error and flipped codes of every precision, on the first layer."""
    found: dict[tuple[str, ...], OutputError] = {}
    for projection, table in LOOKUPS:
        lookup = bench.lookups(projection, table, STRIPES[table][0], 1)[0]
        found["look-up", projection, table] = lookup_error(lookup, bench.lookup_weights[0])
    found["published", "fp32", "fp32"] = lookup_error(bench.published(1)[0], bench.lookup_weights[0])
    for library, dtype in GEMMS:
        gemm = bench.gemms(library, dtype, TOKEN_TILES[0], 1)[0]
        found["gemm", library, dtype] = gemm_error(gemm, bench.gemm_weights[0])
    return found


def measure_group(
    bench: Bench, group: Group, accuracy: dict[tuple[str, ...], OutputError], *, rounds: int, seconds: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(ratios, times) of one group: a row for every look-up form against every GEMM, and one for each form alone.

    Seconds are those of one call of one layer.
    """
    data = inputs(bench.shape, group.batch)
    with pinned():
        chosen = contenders(bench, group, data)
        bench.note(f"batch {group.batch}, {group.threads} thread(s), {group.mode}: {rounds} interleaved rounds")
        found = interleave(chosen, rounds, seconds)
    common = {"batch": group.batch, "threads": group.threads, "mode": group.mode}
    layers = bench.shape.layers
    times = [
        {**common, **_form(c.key), "variant": c.variant, "schedule": c.schedule,
         **_seconds(found[c.key], layers), "microseconds_per_token": found[c.key].seconds_median / layers / group.batch * 1e6,
         "output_error": accuracy[c.key].output_error, "flipped_codes": accuracy[c.key].flipped_codes}
        for c in chosen
    ]  # fmt: skip
    ratios = []
    for ours, theirs in itertools.product(chosen, chosen):
        if ours.key[0] == "gemm" or theirs.key[0] != "gemm":
            continue
        a, b = found[ours.key], found[theirs.key]
        ratios.append({
            **common, "variant": ours.variant, "projection_dtype": ours.key[1], "table_dtype": ours.key[2],
            "schedule": ours.schedule, **_seconds(a, layers), "gemm_library": theirs.key[1], "gemm_dtype": theirs.key[2],
            "gemm_schedule": theirs.schedule, **{f"gemm_{k}": v for k, v in _seconds(b, layers).items()},
            "speedup": b.seconds_median / a.seconds_median, "output_error": accuracy[ours.key].output_error,
            "flipped_codes": accuracy[ours.key].flipped_codes, "gemm_output_error": accuracy[theirs.key].output_error,
        })  # fmt: skip
    return ratios, times


def _form(key: tuple[str, ...]) -> dict[str, str | None]:
    form, first, second = key
    ours, theirs = ((None, None), (first, second)) if form == "gemm" else ((first, second), (None, None))
    return {
        "form": form, "projection_dtype": ours[0], "table_dtype": ours[1], "gemm_library": theirs[0], "gemm_dtype": theirs[1],
    }  # fmt: skip


def _seconds(t: Timing, layers: int) -> dict[str, float]:
    return {
        "seconds_median": t.seconds_median / layers,
        "seconds_min": t.seconds_min / layers,
        "seconds_iqr": t.seconds_iqr / layers,
    }
