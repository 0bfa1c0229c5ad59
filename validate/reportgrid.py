"""What a report is made of, for HTML and Markdown alike: sections with sentences, tables of strings, and the names of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.tables import number

Line = dict[str, Any]
Record = Mapping[str, Any]

MET, MISSED = "✓ met", "✗ missed"
NONE = "none"


@dataclass(frozen=True)
class Grid:
    """A table of plain strings. `left`: columns of words; the others are numbers. `folded`: long, shown on demand."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[str, ...] = ()
    caption: str = ""
    folded: bool = False

    def __post_init__(self) -> None:
        if wrong := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"{len(self.columns)} columns, but a row has {len(wrong[0])}: {wrong[0]}")


@dataclass(frozen=True)
class Section:
    """A heading with sentences, figures (by name, with what they show in words) and tables below it."""

    title: str
    sentences: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    caption: str = ""


def moment(time: str | None) -> str:
    """An ISO time as people read it, NONE for none."""
    return NONE if time is None else time.replace("T", " ").replace("+00:00", " UTC")


def micros(seconds: float) -> str:
    """Microseconds without their unit."""
    return number(seconds * 1e6)


def signed(share: float, digits: int = 1) -> str:
    """A relative error in per cent with its sign."""
    return f"{100.0 * share:+.{digits}f}"


def interval(p: Record) -> str:
    """The 90 % interval of a point's prediction, in microseconds."""
    return f"{micros(p['interval_low_seconds'])} to {micros(p['interval_high_seconds'])}"


def plural(count: int, word: str) -> str:
    """'1 round', '2 rounds'."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def kind(p: Record) -> str:
    """A point's row in the table of accuracy; `validate.errors.kind` says the same of a result."""
    operator: str = p["operator"]
    if operator == "gemm_ffn":
        return f"GEMM FFN, {p['library']}"
    if operator == "gather":
        return f"gather, {p['regime']}"
    return {"bh4": "BH4", "code_score": "code+score", "lookup_ffn": "LookupFFN"}[operator]
