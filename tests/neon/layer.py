"""A LookupFFN layer whose stages run under the emulator: the same calls as `kernels.lookup.LookupFfn`, on AArch64."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from kernels import library
from kernels.lookup import Plan, default_plan
from kernels.packing import Dtype
from kernels.projection import Projection, pack_projection
from kernels.tables import PackedTables, Scales, TableDtype, pack_tables
from kernels.weights import EPSILON, LookupWeights
from tests.neon.emulator import Emulator, Function, Record


class EmulatedFfn:
    """`isa` is neon or scalar; the fused loop is the scalar file for both, as on every machine."""

    def __init__(
        self,
        emulator: Emulator,
        weights: LookupWeights,
        projection: Dtype,
        table: TableDtype,
        *,
        isa: str = "neon",
        stripe: int | None = None,
        threads: int = 1,
        table_scales: Scales = "table",
    ) -> None:
        self.emulator, self.weights, self.projection, self.table = emulator, weights, projection, table
        self.threads = threads
        if stripe is None:
            stripe = min(128 if table == "int8" else 256, -(-weights.columns // 64) * 64)
        self.packed: Projection = pack_projection(weights, projection)
        self.tables: PackedTables = pack_tables(weights.tables, weights.bias, table, stripe, table_scales=table_scales)
        p = self.packed
        self.functions = {
            "layer_norm": Function("layer_norm", isa, "layer_norm"),
            "project": Function(p.operator, isa, p.symbol),
            "project_scratch": Function(p.operator, isa, f"{p.symbol}_scratch"),
            "code_score": Function("code_score", isa, "code_score"),
            "gather": Function("gather", isa, f"gather_{table}"),
        }

    def project(self, x: Any) -> Any:
        """Z [B, M] in natural order."""
        w, p = self.weights, self.packed
        x1 = np.zeros((len(x), p.width), np.float32)
        planes = np.zeros_like(x1) if p.planes and p.mixes else None
        self.emulator.call(
            self.functions["layer_norm"], _constant(x), x.shape[1], len(x), w.hidden, _constant(w.gamma), _constant(w.beta),
            float(EPSILON), x1, p.width, planes,
        )  # fmt: skip
        z = np.zeros((len(x), p.outputs), np.float32)
        size = self.emulator.call(self.functions["project_scratch"], self.projection_record(), len(x))
        mix = x1 if planes is None else planes
        self.emulator.call(
            self.functions["project"], self.projection_record(), _constant(x1), _constant(mix), len(x), z, z.shape[1],
            np.zeros(size, np.uint8),
        )  # fmt: skip
        return p.natural(z, w.outputs)

    def codes_and_scores(self, z: Any) -> tuple[Any, Any]:
        """(codes, scores), both [B, T], of Z [B, M] in natural order."""
        z = np.ascontiguousarray(z, np.float32)
        return self.code_score(z, planes=False)

    def code_score(self, z: Any, *, planes: bool) -> tuple[Any, Any]:
        """The same of Z in either order; what lies behind the last table must stay as it is."""
        w = self.weights
        codes = np.full((len(z), w.table_count + 3), 7, np.uint16)
        scores = np.full(codes.shape, 7.0, np.float32)
        self.emulator.call(
            self.functions["code_score"], _constant(z), z.shape[1], len(z), w.table_count, w.code_bits, int(planes), codes,
            scores, codes.shape[1],
        )  # fmt: skip
        assert (codes[:, w.table_count :] == 7).all()
        assert (scores[:, w.table_count :] == 7.0).all()
        return codes[:, : w.table_count], scores[:, : w.table_count]

    def gather(self, codes: Any, scores: Any, plan: Plan | None = None) -> Any:
        """sum_t score[b, t] table[t, code[b, t]] + bias."""
        bad, sums = self.raw_gather(codes, scores, plan)
        assert bad < 0
        return np.ascontiguousarray(sums[:, : self.weights.columns])

    def raw_gather(
        self, codes: Any, scores: Any, plan: Plan | None = None, tables: tuple[int, int] | None = None
    ) -> tuple[int, Any]:
        """What the kernel returns, and the sums as it leaves them; `tables`: only the first to the last of these."""
        t = self.tables
        wide_codes = np.zeros((len(codes), t.tables), np.uint16)
        wide_scores = np.zeros(wide_codes.shape, np.float32)
        wide_codes[:, : codes.shape[1]], wide_scores[:, : codes.shape[1]] = codes, scores
        sums = np.full((len(codes), t.padded_columns), 7.0, np.float32)
        bad = self.emulator.call(
            self.functions["gather"], self.tables_record(), _constant(wide_codes), _constant(wide_scores), t.tables, len(codes),
            sums, t.padded_columns, 0, t.padded_columns // t.stripe,
            Record(self._nest(len(codes), plan, tables or (0, t.tables)), {}),
        )  # fmt: skip
        return bad, sums

    def __call__(self, x: Any, plan: Plan | None = None) -> Any:
        """The fused layer."""
        w, p = self.weights, self.packed
        chosen = default_plan(len(x), self.tables.tables) if plan is None else plan
        nest = self._nest(len(x), plan, (0, self.tables.tables))
        schedule = library.Schedule(chosen.project_tile, chosen.token_tile, chosen.split, nest)
        t = self.tables_record()
        layer = Record(
            library.Layer(
                hidden=w.hidden, width=p.width, outputs=p.outputs, bits=w.code_bits, layout=int(p.planes), mixes=int(p.mixes),
                tables=w.table_count, epsilon=EPSILON, rows=t.plain, parts=1,
            ),
            {
                "gamma": _constant(w.gamma),
                "beta": _constant(w.beta),
                "projection": self.projection_record(),
                **{f"rows.{name}": array for name, array in t.pointers.items()},
            },
        )  # fmt: skip
        y = np.zeros((len(x), w.columns), np.float32)
        bad = self.emulator.call(
            Function("lookup_ffn", "scalar", "lookup_ffn"), layer, Record(library.Stages(), self.functions),
            Record(schedule, {}), _constant(x), x.shape[1], len(x), y, w.columns, self.threads,
        )  # fmt: skip
        assert bad < 0
        return y

    def projection_record(self) -> Record:
        """`struct Bh4` or `struct Dense` with its arrays."""
        arrays = {a.ctypes.data: _constant(a) for a in self.packed.arrays if a is not None}
        return _record(self.packed.struct, arrays)

    def tables_record(self) -> Record:
        """`struct Tables` with its arrays."""
        t, w = self.tables, self.weights
        plain = library.Tables(
            tables=t.tables, rows=w.rows, columns=w.columns, stripe=t.stripe, scale_group=t.scale_group
        )
        scales = None if t.scales is None else _constant(t.scales)
        return Record(plain, {"data": _constant(t.data), "scales": scales, "bias": _constant(t.bias)})

    def _nest(self, batch: int, plan: Plan | None, tables: tuple[int, int]) -> library.GatherSchedule:
        chosen = default_plan(batch, self.tables.tables) if plan is None else plan
        group = -(-chosen.table_group // 4) * 4
        return library.GatherSchedule(chosen.token_tile, group, chosen.near_tokens, chosen.bulk, *tables)


def _record(filled: ctypes.Structure, arrays: dict[int, Any]) -> Record:
    """A struct that points into this process as one that points into the driver."""
    pointers = {
        field[0]: arrays[getattr(filled, field[0])]
        for field in filled._fields_
        if field[1] is library.POINTER and getattr(filled, field[0])
    }
    return Record(filled, pointers)


def _constant(array: Any) -> Any:
    """A view that the driver does not send back."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
