"""What is measured beside microbenchmarks: one kernel under one schedule on one shape. Plain data, as JSON takes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Operator = Literal["bh4", "code_score", "gather", "lookup_ffn", "gemm_ffn"]
OPERATORS: tuple[Operator, ...] = ("bh4", "code_score", "gather", "lookup_ffn", "gemm_ffn")
PAGES = {"4KiB": 4096, "2MiB": 2 << 20}
ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "int16": 2, "int8": 1}


class PointError(ValueError):
    """A record that is no point; the message names the field and the rule."""


@dataclass(frozen=True)
class Nest:
    """Loop nest of the look-up kernels, in the words of kernels/plan.py."""

    project_tile: int
    token_tile: int
    table_group: int
    near_tokens: int
    bulk: int
    split: int


@dataclass(frozen=True)
class Point:
    """One kernel to be timed.

    hidden, intermediate: d and h of a GEMM FFN, d of a projection. tables, rows, columns: of the look-up; `stripe` columns
    lie together. residency 'model': `layers` of them cycled, 'hot': one repeated. page: of the tables. skew: exponent of Zipf's
    law of the codes (gather alone; 0: uniform). Fields that an operator does not have are 0 or ''.
    """

    operator: Operator
    batch: int
    threads: int
    residency: Literal["hot", "model"] = "hot"
    layers: int = 1
    hidden: int = 0
    intermediate: int = 0
    tables: int = 0
    rows: int = 0
    columns: int = 0
    stripe: int = 0
    projection_dtype: str = ""
    table_dtype: str = ""
    gemm_dtype: str = ""
    library: str = ""
    page: str = "2MiB"
    skew: float = 0.0
    nest: Nest | None = None

    @property
    def dtype(self) -> str:
        """'bf16' of a GEMM, 'int16/int8' (projection/tables) of a look-up, either one of a stage."""
        if self.operator == "gemm_ffn":
            return self.gemm_dtype
        if self.operator == "lookup_ffn":
            return f"{self.projection_dtype}/{self.table_dtype}"
        return self.table_dtype if self.operator == "gather" else self.projection_dtype

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables of all layers."""
        element = ELEMENT_BYTES[self.table_dtype] if self.table_dtype else 0
        return self.layers * self.tables * self.rows * self.columns * element

    @property
    def footprint_bytes(self) -> int:
        """Bytes of tables or weight matrices that are cycled."""
        if self.operator == "gemm_ffn":
            return self.layers * 2 * self.hidden * self.intermediate * ELEMENT_BYTES[self.gemm_dtype]
        return self.table_bytes

    @property
    def label(self) -> str:
        """A line for tables: what, its shape, how it runs."""
        shape = f"{self.hidden}-{self.intermediate}"
        if self.operator in ("gather", "lookup_ffn"):
            shape = f"{self.tables}x{self.rows}x{self.columns}"
        elif self.operator != "gemm_ffn":
            shape = f"{self.hidden}->{self.tables}x{self.rows}"
        parts = [self.operator, *((self.library,) if self.library else ()), self.dtype, shape, f"B={self.batch}"]
        parts += [f"{self.threads} thread{'s' if self.threads > 1 else ''}", self.residency]
        parts += [self.page] if self.page != "2MiB" else []
        parts += [f"zipf {self.skew:g}"] if self.skew else []
        return " ".join(parts)


def record_of(point: Point) -> dict[str, Any]:
    """Fields that are not at their default."""
    found = asdict(point)
    return {f.name: found[f.name] for f in fields(Point) if found[f.name] != f.default}


def point_of(record: Any) -> Point:
    """The point of a record. Raises PointError."""
    if not isinstance(record, dict):
        raise PointError("a point is an object")
    known = {f.name: f for f in fields(Point)}
    for name, value in record.items():
        if name not in known:
            raise PointError(f"{name}: no field of a point")
        if name == "nest":
            continue
        wanted = {"int": (int,), "float": (int, float)}.get(str(known[name].type), (str,))
        if type(value) not in wanted:
            raise PointError(f"{name}: must be {known[name].type}, got {value!r}")
    missing = {"operator", "batch", "threads"} - record.keys()
    if missing:
        raise PointError(f"{', '.join(sorted(missing))}: missing")
    if record["operator"] not in OPERATORS:
        raise PointError(f"operator: one of {', '.join(OPERATORS)}, got {record['operator']!r}")
    if record["batch"] < 1 or record["threads"] < 1:
        raise PointError("batch, threads: at least 1")
    nest = record.get("nest")
    if nest is not None:
        names = {f.name for f in fields(Nest)}
        if not isinstance(nest, dict) or nest.keys() != names or not all(type(v) is int for v in nest.values()):
            raise PointError(f"nest: whole numbers {', '.join(sorted(names))}")
        record = {**record, "nest": Nest(**nest)}
    return Point(**record)
