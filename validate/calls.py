"""Points as calls of compiled kernels: everything is allocated and packed beforehand, a call does the timed work alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.gemm import GemmFfn, GemmWeights
from kernels.lookup import LookupFfn
from kernels.plan import Plan
from kernels.prepared import Prepared, Series
from kernels.weights import LookupWeights, lookup_weights
from simulator.rowindices import draw_rows
from validate.expected import lookup_operator
from validate.points import Nest, Point

FRESH_TOKENS = 1024
"""At least so many tokens before the same ones come again: else their rows still lie in the caches."""

LARGEST_SETS = 256
SET_BYTES = 64 << 20
"""Of all fresh tokens and codes together."""

_NOISE = 1 << 20


@functools.lru_cache(maxsize=2)
def _noise(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(_NOISE, dtype=np.float32)


def _filled(shape: tuple[int, ...], scale: float, seed: int) -> NDArray[np.float32]:
    """Normal numbers that repeat after a million: kernels do not look at them, and new ones take longer than a kernel."""
    return np.resize(_noise(seed) * np.float32(scale), shape)


def random_lookup(p: Point, layer: int) -> LookupWeights:
    """Weights of one layer of the point's shape."""
    bits = p.rows.bit_length() - 1
    hidden = p.hidden or 64
    outputs, padded = p.tables * bits, 1 << (hidden - 1).bit_length()
    block = min(64, padded)
    repeats = max(1, -(-outputs // padded))
    columns = p.columns or 64
    return lookup_weights(
        tables=_filled((p.tables, p.rows, columns), 0.02, layer),
        blocks=_filled((repeats, 4, padded // block, block, block), (block * padded) ** -0.5, layer),
        hidden=hidden,
        gamma=1.0 + 0.1 * _noise(layer)[:hidden],
        beta=0.1 * _noise(layer)[:hidden],
        projection_bias=0.1 * np.resize(_noise(layer), outputs),
        bias=0.1 * np.resize(_noise(layer), columns),
    )


def random_gemm(p: Point, layer: int) -> GemmWeights:
    """Weights of one dense layer of the point's shape."""
    d, h = p.hidden, p.intermediate
    return GemmWeights(
        gamma=1.0 + 0.1 * _noise(layer)[:d],
        beta=0.1 * _noise(layer)[:d],
        w1=_filled((h, d), d**-0.5, layer),
        b1=0.1 * np.resize(_noise(layer), h),
        w2=_filled((d, h), h**-0.5, layer),
        b2=0.1 * np.resize(_noise(layer), d),
    )


def sets_of(p: Point, token_bytes: int) -> int:
    """Different inputs that are cycled."""
    wanted = max(1, min(LARGEST_SETS, -(-FRESH_TOKENS // p.batch)))
    return max(1, min(wanted, SET_BYTES // max(p.batch * token_bytes, 1)))


def plan_of(nest: Nest) -> Plan:
    """The kernels' own words for a loop nest."""
    return Plan(nest.project_tile, nest.token_tile, nest.table_group, nest.near_tokens, nest.bulk, nest.split)


def nest_of(plan: Plan) -> Nest:
    """The same, as a point keeps it."""
    return Nest(plan.project_tile, plan.token_tile, plan.table_group, plan.near_tokens, plan.bulk, plan.split)


class Calls:
    """Calls of points; layers of equal shape and type are made once and kept until `forget`."""

    def __init__(self, cpus: Sequence[int], seed: int = 0) -> None:
        self.cpus, self.seed = tuple(cpus), seed
        self._layers: dict[Any, Any] = {}

    def forget(self) -> None:
        """Gives the memory of all layers back."""
        self._layers.clear()

    def of(self, p: Point) -> Series:
        """Calls of every set of inputs: `layers` layers once each ('model'), or the first one so often ('hot')."""
        make = {
            "gemm_ffn": self._gemm,
            "lookup_ffn": self._ffn,
            "gather": self._gather,
            "bh4": self._projection,
            "code_score": self._score,
        }[p.operator]
        return Series(make(p))

    def _kept(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._layers:
            self._layers[key] = make()
        return self._layers[key]

    def _weights(self, p: Point, layer: int) -> LookupWeights:
        key = ("weights", p.hidden, p.tables, p.rows, p.columns, layer)
        return self._kept(key, lambda: random_lookup(p, layer))  # type: ignore[no-any-return]

    def _lookup(self, p: Point, layer: int) -> LookupFfn:
        projection, table = p.projection_dtype or "fp32", p.table_dtype or "int8"
        stripe = p.stripe or 64
        key = ("look-up", p.hidden, p.tables, p.rows, p.columns, layer, projection, table, stripe, p.page)
        made = self._kept(key, lambda: LookupFfn(
            self._weights(p, layer), projection=projection, table=table, stripe=stripe, page_2m=p.page == "2MiB"))  # type: ignore[arg-type]  # fmt: skip
        made.threads = p.threads  # of the calls prepared from now on
        return made  # type: ignore[no-any-return]

    def _tokens(self, p: Point, width: int, sets: int = 1) -> NDArray[np.float32]:
        """[sets, B, d], standard normal. All layers get the same: in a network the layer before left them in the caches."""
        shape = (sets, p.batch, width)
        return np.random.default_rng(self.seed).standard_normal(shape, dtype=np.float32)

    def _dense(self, p: Point, layer: int) -> GemmFfn:
        key = ("gemm", p.hidden, p.intermediate, p.gemm_dtype, p.library, p.threads, layer)
        options = {"library": p.library, "dtype": p.gemm_dtype, "threads": p.threads, "cpus": self.cpus}
        shape = ("gemm weights", p.hidden, p.intermediate, layer)
        weights = self._kept(shape, lambda: random_gemm(p, layer))
        return self._kept(key, lambda: GemmFfn(weights, **options))  # type: ignore[no-any-return, arg-type]

    def _gemm(self, p: Point) -> list[Prepared]:
        made = [self._dense(p, layer) for layer in range(_distinct(p))]
        x = self._tokens(p, p.hidden)[0]
        y = np.empty_like(x)
        return [made[i % len(made)].prepare(x, y) for i in range(p.layers)]

    def _ffn(self, p: Point) -> list[Prepared]:
        made = [self._lookup(p, layer) for layer in range(_distinct(p))]
        x = self._tokens(p, p.hidden, sets_of(p, 4 * p.hidden))
        y = np.empty((p.batch, p.columns), dtype=np.float32)
        plan = None if p.nest is None else plan_of(p.nest)
        return [made[i % len(made)].prepare(of, y, plan) for of in x for i in range(p.layers)]

    def _gather(self, p: Point) -> list[Prepared]:
        made = [self._lookup(p, layer) for layer in range(_distinct(p))]
        wide = made[0]._tables.tables
        plan = None if p.nest is None else plan_of(p.nest)
        found, sums = [], np.zeros((p.batch, made[0]._tables.padded_columns), np.float32)
        scores = np.random.default_rng(self.seed).random((p.batch, wide), dtype=np.float32)
        for number in range(sets_of(p, 2 * wide)):
            for i in range(p.layers):
                codes = draw_codes(p, wide, self.seed, i, number)
                found.append(made[i % len(made)].gather_call(codes, scores, plan, sums)[0])
        return found

    def _projection(self, p: Point) -> list[Prepared]:
        calls = []
        x = self._tokens(p, p.hidden)[0]  # weights alone decide what is near: one set of tokens does
        for i in range(p.layers):
            ffn = self._lookup(p, i if p.residency == "model" else 0)
            normalise, x1, mix = ffn.layer_norm_call(x)
            normalise()
            calls.append(ffn.project_call(x1, mix)[0])
        return calls

    def _score(self, p: Point) -> list[Prepared]:
        calls = []
        for i in range(p.layers):
            ffn = self._lookup(p, i if p.residency == "model" else 0)
            z = _filled((p.batch, ffn._projection.outputs), 1.0, i)
            calls.append(ffn.code_score_call(z)[0])
        return calls


def draw_codes(p: Point, width: int, seed: int, layer: int, call: int) -> NDArray[np.uint16]:
    """[B, width] row numbers as the point's law draws them; columns beyond the tables are 0."""
    codes = np.zeros((p.batch, width), dtype=np.uint16)
    codes[:, : p.tables] = draw_rows(lookup_operator(p), p.batch, seed, layer, call)[:, : p.tables]
    return codes


def _distinct(p: Point) -> int:
    return p.layers if p.residency == "model" else 1
