"""LookupFFN as a callable on NumPy arrays, run by the compiled kernels.

    ffn = LookupFfn.from_arrays(tables=tables, blocks=blocks, gamma=gamma, beta=beta, projection="int16", table="int8")
    y = ffn(x)                      # x: float32 [..., d], y: float32 [..., dout]

Weights are folded, quantised and laid out once; a call copies neither x nor y.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import library
from kernels.library import KernelError
from kernels.packing import Dtype, PackedBh4, pack_bh4
from kernels.tables import PackedTables, TableDtype, aligned, pack_tables
from kernels.weights import EPSILON, MIX_INPUT, MIX_PROJECTED, Float32, LookupWeights, ShapeError, lookup_weights

PROJECTIONS: tuple[Dtype, ...] = ("fp32", "bf16", "int16", "int8")
TABLES: tuple[TableDtype, ...] = ("fp32", "bf16", "int8")
PROJECT_TILE = 48


@dataclass(frozen=True)
class Plan:
    """Loop nest of one call: tokens a projection block, tokens a gather tile, tables a group, prefetch."""

    project_tile: int
    token_tile: int
    table_group: int
    near_tokens: int
    bulk: bool


def default_plan(batch: int, tables: int) -> Plan:
    """Token-outer for few tokens, where nothing is reused; tiles and groups of tables where rows come back."""
    if batch < 128:
        return Plan(PROJECT_TILE, PROJECT_TILE, tables, 1, False)
    return Plan(PROJECT_TILE, 10 * PROJECT_TILE, min(32, tables), 1, False)


class LookupFfn:
    """One LookupFFN layer on compiled kernels; make it with `from_arrays`.

    projection: fp32, bf16, int16 or int8; table: fp32, bf16 or int8; stripe: columns a stripe of the tables, a multiple of 64;
    isa: caps the instruction set. A token whose normalised input holds infinity or NaN gives NaN.
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
    ) -> None:
        if projection not in PROJECTIONS:
            raise KernelError(f"projection: one of {', '.join(PROJECTIONS)}, got {projection!r}")
        if table not in TABLES:
            raise KernelError(f"table: one of {', '.join(TABLES)}, got {table!r}")
        if threads < 1:
            raise KernelError(f"threads: at least 1, got {threads}")
        if weights.blocks is None:
            raise KernelError("only BH4 projections have a kernel; this layer has a dense one")
        if weights.blocks.shape[-1] < 16:
            raise KernelError(
                f"blocks: the kernels take blocks of 16 to {weights.padded}, got {weights.blocks.shape[-1]}"
            )
        self.weights, self.projection, self.table, self.threads = weights, projection, table, threads
        if stripe is None:
            stripe = min(512 if table == "int8" else 256, -(-weights.columns // 64) * 64)
        self._bh4 = pack_bh4(weights, projection)
        self._tables = pack_tables(weights.tables, weights.bias, table, stripe)
        self._functions = {
            "layer_norm": library.function("layer_norm", "layer_norm", isa),
            "project": library.function("bh4", f"bh4_{projection}", isa),
            "project_scratch": library.function("bh4", f"bh4_{projection}_scratch", isa),
            "code_score": library.function("code_score", "code_score", isa),
            "gather": library.function("gather", f"gather_{table}", isa),
        }
        self._functions["project_scratch"].restype = library.I64
        self._functions["gather"].restype = library.I64
        self._run = library.function("lookup_ffn", "lookup_ffn")
        self._run.restype = library.I64
        self._stages = library.Stages(**{name: library.address(f) for name, f in self._functions.items()})
        self._c_bh4 = _c_bh4(weights, self._bh4)
        self._c_tables = _c_tables(weights, self._tables)
        self._layer = library.Layer(
            gamma=weights.gamma.ctypes.data,
            beta=weights.beta.ctypes.data,
            hidden=weights.hidden,
            padded=weights.padded,
            outputs=weights.repeats * weights.padded,
            bits=weights.code_bits,
            layout=int(self._bh4.planes),
            tables=weights.table_count,
            epsilon=EPSILON,
            projection=ctypes.addressof(self._c_bh4),
            rows=self._c_tables,
        )

    @classmethod
    def from_arrays(cls, **arguments: Any) -> LookupFfn:
        """From arrays in training's layout (`weights.lookup_weights`) and the options of the class."""
        options = {
            name: arguments.pop(name)
            for name in ("projection", "table", "threads", "stripe", "isa")
            if name in arguments
        }
        return cls(lookup_weights(**arguments), **options)

    def __call__(self, x: Any, out: Float32 | None = None, plan: Plan | None = None) -> Float32:
        """y [..., dout] of x [..., d], both float32 with contiguous rows. Raises ShapeError."""
        w = self.weights
        x = self._input(x)
        shape = (*x.shape[:-1], w.columns)
        rows = x.reshape(-1, w.hidden)
        y = np.empty(shape, dtype=np.float32) if out is None else _output(out, shape)
        flat = y.reshape(-1, w.columns)
        batch = len(rows)
        if batch == 0:
            return y
        p = default_plan(batch, self._tables.tables) if plan is None else plan
        group = -(-p.table_group // 4) * 4
        nest = library.GatherSchedule(p.token_tile, group, p.near_tokens, int(p.bulk))
        schedule = library.Schedule(p.project_tile, p.token_tile, nest)
        bad = self._run(
            ctypes.byref(self._layer), ctypes.byref(self._stages), ctypes.byref(schedule),
            _pointer(rows), library.I64(rows.strides[0] // 4), library.I64(batch),
            _pointer(flat), library.I64(flat.strides[0] // 4), library.I64(self.threads),
        )  # fmt: skip
        assert bad < 0, "code+score made a code out of range"
        return y

    def project(self, x: Any) -> Float32:
        """Z [B, M] in natural order, as the projection of this layer computes it from LayerNorm(x)."""
        w, p = self.weights, self._bh4
        x = self._input(x).reshape(-1, w.hidden)
        batch = len(x)
        x1, planes = _zeros((batch, w.padded)), _zeros((batch, w.padded))
        self._functions["layer_norm"](
            _pointer(x), library.I64(x.strides[0] // 4), library.I64(batch), library.I64(w.hidden), _pointer(w.gamma),
            _pointer(w.beta), library.F32(EPSILON), _pointer(x1), library.I64(w.padded),
            _pointer(planes) if p.planes else None,
        )  # fmt: skip
        z = _zeros((batch, w.repeats * w.padded))
        size = self._functions["project_scratch"](ctypes.byref(self._c_bh4), library.I64(batch))
        scratch = aligned(np.zeros(size, dtype=np.uint8))
        mix = planes if p.planes else x1
        self._functions["project"](
            ctypes.byref(self._c_bh4), _pointer(x1), _pointer(mix), library.I64(batch), _pointer(z),
            library.I64(z.shape[1]), _pointer(scratch),
        )  # fmt: skip
        inverse = np.argsort(p.order)
        natural = z.reshape(batch, -1, len(p.order))[:, :, inverse].reshape(batch, -1)
        return np.ascontiguousarray(natural[:, : w.outputs])

    def codes_and_scores(self, z: Any) -> tuple[NDArray[np.uint16], Float32]:
        """(codes, scores), both [B, T], of Z [B, M] in natural order."""
        w = self.weights
        z = np.ascontiguousarray(z, dtype=np.float32)
        if z.ndim != 2 or z.shape[1] != w.outputs:
            raise ShapeError(f"z: must have shape [B, {w.outputs}], got {z.shape}")
        codes = np.zeros((len(z), w.table_count), dtype=np.uint16)
        scores = np.zeros((len(z), w.table_count), dtype=np.float32)
        self._functions["code_score"](
            _pointer(z), library.I64(w.outputs), library.I64(len(z)), library.I64(w.table_count), library.I64(w.code_bits),
            library.I64(0), _pointer(codes), _pointer(scores), library.I64(w.table_count),
        )  # fmt: skip
        return codes, scores

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
        p = default_plan(len(codes), t.tables) if plan is None else plan
        nest = library.GatherSchedule(p.token_tile, -(-p.table_group // 4) * 4, p.near_tokens, int(p.bulk))
        sums = _zeros((len(codes), t.padded_columns))
        bad = self._functions["gather"](
            ctypes.byref(self._c_tables), _pointer(wide_codes), _pointer(wide_scores), library.I64(t.tables),
            library.I64(len(codes)), _pointer(sums), library.I64(t.padded_columns), library.I64(0),
            library.I64(t.padded_columns // t.stripe), ctypes.byref(nest),
        )  # fmt: skip
        assert bad < 0, "an index out of range was let through"
        return np.ascontiguousarray(sums[:, : w.columns])

    def _input(self, x: Any) -> Float32:
        if not isinstance(x, np.ndarray):
            raise ShapeError(f"x: must be a NumPy array, got {type(x).__name__}")
        if x.dtype != np.float32:
            raise ShapeError(f"x: must be float32, got {x.dtype}; convert it with x.astype('float32')")
        if x.ndim < 1 or x.shape[-1] != self.weights.hidden:
            raise ShapeError(f"x: the last axis must be d = {self.weights.hidden}, got shape {x.shape}")
        one_stride = x.ndim <= 2 and x.strides[-1] == 4 and x.strides[0] % 4 == 0 and x.strides[0] > 0
        return x if one_stride else np.ascontiguousarray(x)


def _output(out: Any, shape: tuple[int, ...]) -> Float32:
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != shape:
        raise ShapeError(f"out: must be a float32 array of shape {shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ShapeError("out: must be contiguous and writeable")
    return out


def _c_bh4(w: LookupWeights, p: PackedBh4) -> library.Bh4:
    assert w.blocks is not None
    return library.Bh4(
        padded=w.padded,
        repeats=w.repeats,
        stages=w.blocks.shape[1],
        block=w.blocks.shape[3],
        weights=p.weights.ctypes.data,
        scales=None if p.scales is None else p.scales.ctypes.data,
        bias=p.bias.ctypes.data,
        order=p.order.ctypes.data,
        mix_projected=MIX_PROJECTED,
        mix_input=MIX_INPUT,
        limit=p.limit,
        correction=None if p.correction is None else p.correction.ctypes.data,
    )


def _c_tables(w: LookupWeights, t: PackedTables) -> library.Tables:
    return library.Tables(
        tables=t.tables,
        rows=w.rows,
        columns=w.columns,
        stripe=t.stripe,
        data=t.data.ctypes.data,
        scales=None if t.scales is None else t.scales.ctypes.data,
        bias=t.bias.ctypes.data,
    )


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _zeros(shape: tuple[int, ...]) -> Float32:
    return aligned(np.zeros(shape, dtype=np.float32))
