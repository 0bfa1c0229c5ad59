"""LookupFFN as a callable on NumPy arrays, run by the compiled kernels.

    ffn = LookupFfn.from_arrays(tables=tables, blocks=blocks, gamma=gamma, beta=beta, projection="int16", table="int8")
    y = ffn(x)                      # x: float32 [..., d], y: float32 [..., dout]

Weights are folded, quantised and laid out once; a call copies neither x nor y.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import library
from kernels.checkpoint import State, lookup_weights_from_state_dict
from kernels.library import I64, KernelError
from kernels.packing import Dtype
from kernels.plan import Plan, candidate_plans, default_plan, project_tile, variant_plan
from kernels.prepared import Prepared
from kernels.projection import pack_projection
from kernels.tables import PackedTables, Scales, TableDtype, aligned, pack_tables
from kernels.weights import EPSILON, Float32, LookupWeights, ShapeError, lookup_weights

__all__ = ["LookupFfn", "Plan", "default_plan"]

PROJECTIONS: tuple[Dtype, ...] = ("fp32", "bf16", "int16", "int8")
TABLES: tuple[TableDtype, ...] = ("fp32", "bf16", "int8")
OPTIONS = ("projection", "table", "threads", "stripe", "isa", "page_2m", "table_scales")
LAYER_NORM, PROJECT, CODE_SCORE = 0, 1, 2


class LookupFfn:
    """One LookupFFN layer on compiled kernels; make it with `from_arrays` or `from_state_dict`.

    projection: fp32, bf16, int16 or int8; table: fp32, bf16 or int8; stripe: columns a stripe of the tables, a multiple of 64;
    isa: caps the instruction set; page_2m: tables in 2 MiB pages; table_scales: one scale a "table", a "row" or so many rows
    (a power of two) of int8 tables. A token whose normalised input holds infinity or NaN gives NaN.
    """

    def __init__(
        self,
        weights: LookupWeights,
        *,
        projection: Dtype = "fp32",
        table: TableDtype = "fp32",
        threads: int = 1,
        stripe: int | None = None,
        isa: str | None = None,
        page_2m: bool = True,
        table_scales: Scales = "table",
    ) -> None:
        if projection not in PROJECTIONS:
            raise KernelError(f"projection: one of {', '.join(PROJECTIONS)}, got {projection!r}")
        if table not in TABLES:
            raise KernelError(f"table: one of {', '.join(TABLES)}, got {table!r}")
        if table != "int8" and table_scales != "table":
            raise KernelError(f"table_scales: only int8 tables have scales, these are {table}")
        if threads < 1:
            raise KernelError(f"threads: at least 1, got {threads}")
        self.weights, self.projection, self.table, self.threads = weights, projection, table, threads
        if stripe is None:
            stripe = min(128 if table == "int8" else 256, -(-weights.columns // 64) * 64)
        self._projection = pack_projection(weights, projection)
        self._tables = pack_tables(
            weights.tables, weights.bias, table, stripe, page_2m=page_2m, table_scales=table_scales
        )
        self._functions = {
            "layer_norm": library.function("layer_norm", "layer_norm", isa),
            "project": library.function(self._projection.operator, self._projection.symbol, isa),
            "project_scratch": library.function(self._projection.operator, f"{self._projection.symbol}_scratch", isa),
            "code_score": library.function("code_score", "code_score", isa),
            "gather": library.function("gather", f"gather_{table}", isa),
        }
        self._functions["project_scratch"].restype = I64
        self._functions["gather"].restype = I64
        self._run = library.function("lookup_ffn", "lookup_ffn")
        self._run_gather = library.function("lookup_ffn", "gather_threads")
        self._run.restype = self._run_gather.restype = I64
        self._run_stage = library.function("lookup_ffn", "lookup_ffn_stage")
        self._stages = library.Stages(**{name: library.address(f) for name, f in self._functions.items()})
        self._c_tables = _c_tables(weights, self._tables)
        parts = self._projection.parts
        self._part_addresses = (library.POINTER * len(parts))(*(ctypes.addressof(part) for part in parts))
        self._layer = library.Layer(
            gamma=weights.gamma.ctypes.data,
            beta=weights.beta.ctypes.data,
            hidden=weights.hidden,
            width=self._projection.width,
            outputs=self._projection.outputs,
            bits=weights.code_bits,
            layout=int(self._projection.planes),
            mixes=int(self._projection.mixes),
            tables=weights.table_count,
            epsilon=EPSILON,
            projection=ctypes.addressof(self._projection.struct),
            rows=self._c_tables,
            parts=len(parts),
            part=ctypes.addressof(self._part_addresses),
            part_outputs=self._projection.outputs // len(parts),
            part_tables=self._projection.outputs // len(parts) // weights.code_bits,
        )

    @classmethod
    def from_arrays(cls, **arguments: Any) -> LookupFfn:
        """From arrays in training's layout (`weights.lookup_weights`) and the options of the class."""
        options = {name: arguments.pop(name) for name in OPTIONS if name in arguments}
        return cls(lookup_weights(**arguments), **options)

    @classmethod
    def from_state_dict(cls, state: State | str | Path, prefix: str = "", **options: Any) -> LookupFfn:
        """From a state dict or checkpoint file of the official training code (`checkpoint`), and the options of the class."""
        return cls(lookup_weights_from_state_dict(state, prefix), **options)

    def __call__(self, x: Any, out: Float32 | None = None, plan: Plan | None = None) -> Float32:
        """y [..., dout] of x [..., d], both float32 with contiguous rows. Raises ShapeError."""
        w = self.weights
        x = self._input(x)
        shape = (*x.shape[:-1], w.columns)
        y = np.empty(shape, dtype=np.float32) if out is None else _output(out, shape)
        if y.size:
            self.prepare(x.reshape(-1, w.hidden), y.reshape(-1, w.columns), plan)()
        return y

    def plan(self, batch: int, variant: str | None = None) -> Plan:
        """The loop nest that this layer uses for so many tokens, or that of a named variant ("v1" to "v5")."""
        return variant_plan(variant, batch, *self._nest_shape())

    def plans(self, batch: int) -> tuple[Plan, ...]:
        """Loop nests worth trying for so many tokens: pass the fastest one to the calls."""
        return candidate_plans(batch, *self._nest_shape())

    def _nest_shape(self) -> tuple[int, int, int, int]:
        """(tables, threads, stripes, bytes of a table over one stripe)."""
        t = self._tables
        return t.tables, self.threads, t.padded_columns // t.stripe, self.weights.rows * t.stripe * t.data.itemsize

    def prepare(self, x: Float32, y: Float32, plan: Plan | None = None) -> Prepared:
        """A call without arguments that writes the layer of x [B, d] to y [B, dout]; both must stay where they are."""
        batch = len(x)
        p = self.plan(batch) if plan is None else plan
        schedule = _schedule(p, self._tables.tables)
        arguments = (
            self._layer, self._stages, schedule, x.ctypes.data, x.strides[0] // 4, batch, y.ctypes.data, y.strides[0] // 4,
            self.threads,
        )  # fmt: skip

        def check(bad: int) -> None:
            if bad >= 0:
                raise AssertionError("code+score made a code out of range")

        return Prepared(self._run, arguments, (self, x, y), check)

    def project(self, x: Any) -> Float32:
        """Z [B, M] in natural order, as the projection of this layer computes it from LayerNorm(x)."""
        normalise, x1, mix = self.layer_norm_call(self._input(x).reshape(-1, self.weights.hidden))
        normalise()
        project, z = self.project_call(x1, mix)
        project()
        return self._projection.natural(z, self.weights.outputs)

    def codes_and_scores(self, z: Any) -> tuple[NDArray[np.uint16], Float32]:
        """(codes, scores), both [B, T], of Z [B, M] in natural order."""
        w = self.weights
        z = np.ascontiguousarray(z, dtype=np.float32)
        if z.ndim != 2 or z.shape[1] != w.outputs:
            raise ShapeError(f"z: must have shape [B, {w.outputs}], got {z.shape}")
        call, codes, scores = self.code_score_call(z, planes=False)
        call()
        return codes[:, : w.table_count].copy(), scores[:, : w.table_count].copy()

    def gather(self, codes: Any, scores: Any, plan: Plan | None = None) -> Float32:
        """sum_t score[b, t] table[t, code[b, t]] + bias; a code out of range is refused (IndexError)."""
        w, t = self.weights, self._tables
        codes, scores = np.asarray(codes), np.asarray(scores)
        if codes.shape != scores.shape or codes.ndim != 2 or codes.shape[1] != w.table_count:
            raise ShapeError(
                f"codes and scores: must have shape [B, {w.table_count}], got {codes.shape} and {scores.shape}"
            )
        if codes.size and (codes.min() < 0 or codes.max() >= w.rows):
            token, table = (int(i) for i in np.argwhere((codes < 0) | (codes >= w.rows))[0])
            raise IndexError(f"codes[{token}, {table}] is {codes[token, table]}, but the tables have {w.rows} rows")
        wide_codes, wide_scores = np.zeros((len(codes), t.tables), np.uint16), _zeros((len(codes), t.tables))
        wide_codes[:, : w.table_count], wide_scores[:, : w.table_count] = codes, scores
        call, sums = self.gather_call(wide_codes, wide_scores, plan)
        bad = call()
        assert bad < 0, "an index out of range was let through"
        return np.ascontiguousarray(sums[:, : w.columns])

    # Single stages, tokens over the threads (the gather: as its plan says): each gives a call without arguments and the
    # arrays that it fills.

    def layer_norm_call(self, x: Float32) -> tuple[Prepared, Float32, Float32]:
        """(call, x1 [B, D], the same in the order of Z where the projection reads it) for x [B, d]."""
        p = self._projection
        x1 = _zeros((len(x), p.width))
        planes = _zeros((len(x), p.width)) if p.planes and p.mixes else x1
        call = self._stage_call(LAYER_NORM, x=x, x1=x1, mix=planes, x_stride=x.strides[0] // 4)
        return call, x1, planes

    def project_call(self, x1: Float32, mix: Float32) -> tuple[Prepared, Float32]:
        """(call, Z [B, outputs padded] in the layer's own order)."""
        z = _zeros((len(x1), self._projection.outputs))
        return self._stage_call(PROJECT, x1=x1, mix=mix, z=z, z_stride=z.shape[1]), z

    def code_score_call(
        self, z: Float32, *, planes: bool | None = None
    ) -> tuple[Prepared, NDArray[np.uint16], Float32]:
        """(call, codes, scores), both [B, tables padded]; `planes`: Z is in the layer's own order (unless False)."""
        width = self._tables.tables
        codes, scores = np.zeros((len(z), width), dtype=np.uint16), _zeros((len(z), width))
        layout = int(self._projection.planes if planes is None else planes)
        call = self._stage_call(
            CODE_SCORE, z=z, codes=codes, scores=scores, z_stride=z.shape[1], layout=layout, code_stride=width
        )
        return call, codes, scores

    def gather_call(
        self, codes: NDArray[np.uint16], scores: Float32, plan: Plan | None = None, sums: Float32 | None = None
    ) -> tuple[Prepared, Float32]:
        """(call, sums [B, columns padded]) for codes and scores [B, tables padded]; the call returns -1 or the first bad code.
        `sums`: where they go, if not into an array of their own."""
        t = self._tables
        sums = _zeros((len(codes), t.padded_columns)) if sums is None else sums
        schedule = _schedule(self.plan(len(codes)) if plan is None else plan, t.tables)

        arguments = (
            self._c_tables, self._stages.gather, schedule, codes.ctypes.data, scores.ctypes.data, codes.shape[1], len(codes),
            sums.ctypes.data, t.padded_columns, self.threads,
        )  # fmt: skip
        return Prepared(self._run_gather, arguments, (self, codes, scores, sums), int), sums

    def _stage_call(self, stage: int, **fields: Any) -> Prepared:
        """A call of one stage before the gather; arrays among `fields` (all with one row a token) are kept alive by it."""
        arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        tokens = len(next(iter(arrays.values())))
        numbers = {name: value.ctypes.data if name in arrays else value for name, value in fields.items()}
        task = library.StageArrays(tokens=tokens, **numbers)
        tile = project_tile(max(1, tokens), self.threads)
        words = (self._layer, self._stages, stage, task, tile, self.threads)
        return Prepared(self._run_stage, words, (self, arrays), _nothing)

    def _input(self, x: Any) -> Float32:
        if not isinstance(x, np.ndarray):
            raise ShapeError(f"x: must be a NumPy array, got {type(x).__name__}")
        if x.dtype != np.float32:
            raise ShapeError(f"x: must be float32, got {x.dtype}; convert it with x.astype('float32')")
        if x.ndim < 1 or x.shape[-1] != self.weights.hidden:
            raise ShapeError(f"x: the last axis must be d = {self.weights.hidden}, got shape {x.shape}")
        one_stride = x.ndim <= 2 and x.strides[-1] == 4 and x.strides[0] % 4 == 0 and x.strides[0] > 0
        return x if one_stride else np.ascontiguousarray(x)


def _schedule(plan: Plan, tables: int) -> library.Schedule:
    group = -(-plan.table_group // 4) * 4  # int8 tables go in fours
    nest = library.GatherSchedule(plan.token_tile, group, plan.near_tokens, plan.bulk, 0, tables)
    return library.Schedule(plan.project_tile, plan.token_tile, plan.split, nest)


def _output(out: Any, shape: tuple[int, ...]) -> Float32:
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != shape:
        raise ShapeError(f"out: must be a float32 array of shape {shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ShapeError("out: must be contiguous and writeable")
    return out


def _c_tables(w: LookupWeights, t: PackedTables) -> library.Tables:
    return library.Tables(
        tables=t.tables,
        rows=w.rows,
        columns=w.columns,
        stripe=t.stripe,
        data=t.data.ctypes.data,
        scales=None if t.scales is None else t.scales.ctypes.data,
        bias=t.bias.ctypes.data,
        scale_group=t.scale_group,
    )


def _nothing(_result: int) -> None:
    """A stage that returns nothing."""


def _zeros(shape: tuple[int, ...]) -> Float32:
    return aligned(np.zeros(shape, dtype=np.float32))
