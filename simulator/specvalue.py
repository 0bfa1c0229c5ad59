"""Leaves of a spec into values with units: quantities, curves, latencies and rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, get_origin

from simulator import units
from simulator.machine import Curve, Duration, Rate
from simulator.schema import Entry, schema
from simulator.spectree import NO_PROVENANCE, Leaf, Tree, is_pair
from simulator.units import Dimension, UnitError
from simulator.yamlfile import Document, Fault, shown, suggest

MISSING = "missing"


def convert(
    tree: Tree, kind: type, document: Document, path: str = "", *, partial: bool = False
) -> tuple[dict[str, Any], list[Fault]]:
    """Quantities into base units: file keys -> values that the schema's types accept."""
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    entries = schema(kind)
    for key, node in tree.items():
        entry = entries.get(key)
        if entry is None:
            faults.append(_first_leaf(node).fault_at_key(path, key, entries))
        elif isinstance(node, dict):
            values[key], more = convert(node, entry.kind, document, f"{path}{key}.", partial=partial)
            faults += more
        elif is_dataclass(entry.kind) and not is_pair(entry.kind):
            if node.value is None and entry.nullable:
                values[key] = None
            else:
                faults.append(node.fault("a section of fields is needed here", shown(node.value)))
        elif node.value is None and not entry.required:
            continue
        else:
            try:
                values[key] = _quantity(node.value, entry)
            except UnitError as error:
                faults.append(node.fault(str(error)))
            if node.provenance is None and entry.unit is not None:
                faults.append(node.fault(NO_PROVENANCE))
    for key, entry in entries.items():
        if entry.required and key not in tree and not partial:
            faults.append(_missing(document, path, key))
    return values, faults


class _FirstLeaf(Leaf):
    """The first leaf below an unknown key, to say where that key stands."""

    def fault_at_key(self, path: str, key: str, entries: Mapping[str, Entry]) -> Fault:
        """The 'unknown key' fault."""
        depth = path.count(".") + 1
        location = self.location[:depth]
        line, column = self.document.key_mark(location)
        return Fault(self.document.file, line, column, f"{path}{key}", "unknown key", "", suggest(str(key), entries))


def _first_leaf(node: Any) -> _FirstLeaf:
    while isinstance(node, dict) and node:
        node = next(iter(node.values()))
    return _FirstLeaf(node.value, node.document, node.location, None)


def _missing(document: Document, path: str, key: str) -> Fault:
    line, column = document.key_marks.get(tuple(path.split(".")[:-1]), (1, 1))
    return Fault(document.file, line, column, f"{path}{key}", MISSING)


def _quantity(value: Any, entry: Entry) -> Any:
    """A file's scalar, list or mapping as the schema's type."""
    dimension = entry.unit.dimension if entry.unit else None
    if entry.kind is Duration or entry.kind is Rate:
        return parse_pair(value, entry.kind)
    if entry.kind == Curve:
        return parse_curve(value, dimension)
    if entry.kind is float and dimension is not None:
        return units.parse(value, dimension)
    if get_origin(entry.kind) is tuple:
        return _names(value)
    if entry.kind is str and entry.required and (value is None or value == ""):
        raise UnitError("must be text, got nothing")
    return value


def _names(value: Any) -> tuple[Any, ...]:
    """A list of words, each once."""
    if not isinstance(value, list):
        raise UnitError(f"must be a list in brackets, e.g. [avx2, avx512], got {shown(value)}")
    twice = next((item for index, item in enumerate(value) if item in value[:index]), None)
    if twice is not None:
        raise UnitError(f"{shown(twice)} is given twice")
    return tuple(value)


def parse_pair(value: Any, kind: Any) -> Any:
    """'14 cycles', '33 ns' or their sum as a Duration; '64 B/cycle', '90 GB/s' or their sum as a Rate."""
    cycle, other = (
        (Dimension.CYCLES, Dimension.TIME) if kind is Duration else (Dimension.BYTES_PER_CYCLE, Dimension.BANDWIDTH)
    )
    example = "'14 cycles' or '33 ns'" if kind is Duration else "'64 B/cycle' or '90 GB/s'"
    word = "latency" if kind is Duration else "bandwidth"
    if not isinstance(value, str):
        raise UnitError(f"a {word} needs a unit, e.g. {example}, got {shown(value)}")
    parts = {cycle: 0.0, other: 0.0}
    for text in value.split("+"):
        try:
            parts[cycle] += units.parse(text.strip(), cycle)
        except UnitError:
            try:
                parts[other] += units.parse(text.strip(), other)
            except UnitError as error:
                raise UnitError(str(error).split(", e.g.")[0] + f", e.g. {example}") from None
    if kind is Rate and not any(parts.values()):
        raise UnitError("a bandwidth must be above 0")
    return kind(parts[cycle], parts[other])


def parse_curve(value: Any, dimension: Dimension | None) -> Curve:
    """{1: 3.8 GHz, 56: 3.0 GHz}, [[1, 0.5], [64, 0.9]] or one value for all x, as ((x, y), ...)."""
    wanted = Dimension.FRACTION if dimension is None else dimension
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        if not all(isinstance(item, list) and len(item) == 2 for item in value):
            raise UnitError("a curve is a mapping x: y or a list of [x, y] pairs")
        pairs = [(item[0], item[1]) for item in value]
    else:
        pairs = [(1.0, value)]
    if not pairs or len(pairs) > 256:
        raise UnitError(f"a curve has 1 to 256 points, got {len(pairs)}")
    points = tuple((units.parse(x, Dimension.COUNT), units.parse(y, wanted)) for x, y in pairs)
    for (x0, _), (x1, _) in zip(points, points[1:], strict=False):
        if x1 <= x0:
            raise UnitError(f"the x of a curve must rise, got {x0:g} before {x1:g}")
    if points[0][0] <= 0:
        raise UnitError("the x of a curve must be above 0")
    return points
