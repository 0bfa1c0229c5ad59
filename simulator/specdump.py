"""Machine -> spec YAML that reads back as the same machine; and the differences between two machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any, NamedTuple

from simulator.machine import DEFAULT_INTERVALS, FORMAT_VERSION, Curve, Duration, Machine, Provenance, Rate
from simulator.schema import Entry, schema
from simulator.units import Dimension, format_quantity
from simulator.yamlfile import dump_yaml

_BARE = (None, Dimension.COUNT, Dimension.FRACTION)
"""Dimensions that are written without a unit."""


def dump_machine(machine: Machine) -> str:
    """The flat spec of a machine (no base), every value with its unit and provenance."""
    common = Counter((p.kind, p.source) for p in machine.provenance.values()).most_common(1)
    default = common[0][0] if common else ("estimated", "made in code")
    head = {"format_version": FORMAT_VERSION, "provenance": default[0], "source": default[1]}
    return dump_yaml({**head, **_section(machine, "", machine.provenance, default)})


def _section(value: Any, path: str, provenance: dict[str, Provenance], default: tuple[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, entry in schema(type(value)).items():
        inner = getattr(value, entry.name)
        if inner is None or (inner == "" and not entry.required) or (inner == () and entry.name != "isa"):
            continue
        if is_dataclass(inner) and not isinstance(inner, (Duration, Rate)):
            section = _section(inner, f"{path}{key}.", provenance, default)
            if section:
                result[key] = section
        else:
            result[key] = _value(_text(inner, entry), provenance.get(f"{path}{key}"), default)
    return result


def _value(text: Any, given: Provenance | None, default: tuple[str, str]) -> Any:
    if given is None:
        return text
    extra: dict[str, Any] = {}
    if (given.kind, given.source) != default:
        extra["provenance"], extra["source"] = given.kind, given.source
    if given.interval != DEFAULT_INTERVALS[given.kind]:
        extra["interval"] = given.interval
    if given.note:
        extra["note"] = given.note
    return {"value": text, **extra} if extra else text


def _text(value: Any, entry: Entry) -> Any:
    dimension = entry.unit.dimension if entry.unit else None
    if isinstance(value, Duration):
        return _sum(((value.cycles, Dimension.CYCLES), (value.seconds, Dimension.TIME)))
    if isinstance(value, Rate):
        return _sum(((value.bytes_per_cycle, Dimension.BYTES_PER_CYCLE), (value.bytes_per_second, Dimension.BANDWIDTH)))
    if entry.kind == Curve:
        return [[_plain(x), _plain(y) if dimension in _BARE else format_quantity(y, dimension)] for x, y in value]
    if isinstance(value, float) and dimension is not None:
        return _plain(value) if dimension in _BARE else format_quantity(value, dimension)
    return list(value) if isinstance(value, tuple) else value


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def _sum(parts: tuple[tuple[float, Dimension], ...]) -> str:
    return " + ".join(format_quantity(v, d) for v, d in parts if v) or format_quantity(*parts[0])


@dataclass(frozen=True)
class SpecValue:
    """One value of a machine as text, with where it comes from."""

    path: str
    text: str
    provenance: Provenance | None
    value: Any = None
    """In base units, as the machine holds it."""


def values(machine: Machine) -> list[SpecValue]:
    """Every value of a machine, in file order."""
    return list(_values(machine, "", machine.provenance))


def _values(value: Any, path: str, provenance: dict[str, Provenance]) -> Iterator[SpecValue]:
    for key, entry in schema(type(value)).items():
        inner = getattr(value, entry.name)
        if inner is None or inner == () or inner == "":
            continue
        if is_dataclass(inner) and not isinstance(inner, (Duration, Rate)):
            yield from _values(inner, f"{path}{key}.", provenance)
            continue
        text = _text(inner, entry)
        if isinstance(text, list):
            text = ", ".join(f"{item[0]}: {item[1]}" if isinstance(item, list) else str(item) for item in text)
        yield SpecValue(f"{path}{key}", str(text), provenance.get(f"{path}{key}"), inner)


class Difference(NamedTuple):
    """One value that two machines do not share. `ratio` is b / a where both are one number of one unit."""

    path: str
    a: str
    b: str
    ratio: float | None


def differences(a: Machine, b: Machine) -> list[Difference]:
    """The values that differ; '-' where a machine has none."""
    left = {v.path: v for v in values(a)}
    right = {v.path: v for v in values(b)}
    found = []
    for path in dict.fromkeys([*left, *right]):
        one, two = left.get(path), right.get(path)
        if one is None or two is None or one.text != two.text:
            ratio = None if one is None or two is None else _ratio(one.value, two.value)
            found.append(Difference(path, one.text if one else "-", two.text if two else "-", ratio))
    return found


def _ratio(a: Any, b: Any) -> float | None:
    if isinstance(a, (Duration, Rate)) and type(a) is type(b):
        parts = [(x, y) for x, y in zip(_parts(a), _parts(b), strict=True) if x or y]
        return _ratio(*parts[0]) if len(parts) == 1 else None
    if isinstance(a, float) and isinstance(b, float) and a != 0.0:
        return b / a
    return None


def _parts(value: Duration | Rate) -> tuple[float, float]:
    if isinstance(value, Duration):
        return value.cycles, value.seconds
    return value.bytes_per_cycle, value.bytes_per_second
