"""A spec document as a tree of leaves: each value with its place in the file and its provenance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any

from simulator import units
from simulator.machine import DEFAULT_INTERVALS, Duration, Provenance, Rate
from simulator.schema import schema
from simulator.units import Dimension, UnitError
from simulator.yamlfile import Document, Fault, Location, dotted, shown, suggest

KINDS = tuple(DEFAULT_INTERVALS)
HEAD = ("format_version", "base", "abstract")
NO_PROVENANCE = "no provenance: give the value, its section or the file 'provenance:' and 'source:'"
_SECTION = ("provenance", "source", "interval")
_VALUE = ("value", "provenance", "source", "interval", "note")


@dataclass(frozen=True)
class Leaf:
    """A value of a file with where it stands and where it comes from."""

    value: Any
    document: Document
    location: Location
    provenance: Provenance | None

    def names(self, path: str) -> bool:
        """Whether this is the value of that dotted path; one set from the command line has its path as source."""
        if not self.location:
            return self.provenance is not None and self.provenance.source == f"set: {path}"
        return dotted(tuple(part for part in self.location if part != "value")) == path

    def fault(self, rule: str, got: str = "", suggestion: str = "", *, at_key: bool = False) -> Fault:
        """A fault at this value."""
        line, column = (self.document.key_mark if at_key else self.document.mark)(self.location)
        field = dotted(part for part in self.location if part != "value") if not at_key else dotted(self.location)  # type: ignore[arg-type]
        return Fault(self.document.file, line, column, field, rule, got, suggestion)


Tree = dict[str, Any]  # key -> Leaf | Tree


def _is_value(data: Any) -> bool:
    return isinstance(data, dict) and "value" in data


def tree_of(data: Any, location: Location, document: Document, kind: Any, inherited: tuple[Any, ...]) -> Any:
    """Wraps a file's data into Leaf and Tree along the schema; unknown keys become leaves and are judged later."""
    if is_dataclass(kind) and not is_pair(kind) and isinstance(data, dict) and not _is_value(data):
        _check_provenance(data, location, document)
        given = (
            data.get("provenance", inherited[0]),
            data.get("source", inherited[1]),
            _interval(data, location, document, None if "provenance" in data else inherited[2]),
        )
        entries = schema(kind)  # type: ignore[arg-type]
        tree: Tree = {}
        for key, value in data.items():
            if key in _SECTION or (not location and key in HEAD):
                continue
            inner = entries[key].kind if key in entries else None
            tree[key] = tree_of(value, (*location, key), document, inner, given)
        return tree
    return _leaf(data, location, document, inherited)


def _leaf(data: Any, location: Location, document: Document, inherited: tuple[Any, ...]) -> Leaf:
    kind, source, interval = inherited
    note = ""
    if _is_value(data):
        _check_provenance(data, location, document)
        for key in data:
            if key not in _VALUE:
                document.fault(
                    (*location, key), "unknown key of a value", suggestion=suggest(str(key), _VALUE), at_key=True
                )
        kind, source = data.get("provenance", kind), data.get("source", source)
        note = str(data.get("note") or "")
        interval = _interval(data, location, document, None if "provenance" in data else interval)
        data, location = data["value"], (*location, "value")
    provenance = None
    if kind in KINDS and isinstance(source, str) and source.strip():
        provenance = Provenance(kind, source, DEFAULT_INTERVALS[kind] if interval is None else interval, note)
    return Leaf(data, document, location, provenance)


def _interval(data: dict[Any, Any], location: Location, document: Document, inherited: float | None) -> float | None:
    if "interval" not in data:
        return inherited
    try:
        interval = units.parse(data["interval"], Dimension.FRACTION)
        if interval > 1.0:
            raise UnitError(f"an interval is a share of the value, at most 1 (5 % or 0.05), got {data['interval']}")
    except UnitError as error:
        document.fault((*location, "interval"), str(error))
        return inherited
    return interval


def _check_provenance(data: dict[Any, Any], location: Location, document: Document) -> None:
    kind = data.get("provenance")
    if kind is not None and not (isinstance(kind, str) and kind in DEFAULT_INTERVALS):
        rule = f"must be one of {', '.join(DEFAULT_INTERVALS)}"
        document.fault((*location, "provenance"), rule, shown(kind), suggest(str(kind), DEFAULT_INTERVALS))
    for key in ("source", "note"):
        if data.get(key) is not None and not isinstance(data[key], str):
            document.fault((*location, key), "must be text", shown(data[key]))


def merge(base: Any, over: Any) -> Any:
    """`over` laid on `base`: mappings merge, everything else is replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        merged = dict(base)
        for key, value in over.items():
            merged[key] = merge(base[key], value) if key in base else value
        return merged
    return over


def is_pair(kind: Any) -> bool:
    """Whether a type is a latency or rate, which is one value in a file."""
    return kind in (Duration, Rate)


def leaves_of(node: Any) -> Iterator[Leaf]:
    """Every leaf below a node."""
    if isinstance(node, dict):
        for value in node.values():
            yield from leaves_of(value)
    else:
        yield node
