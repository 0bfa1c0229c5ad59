"""`--set caches.L2.size=4MiB`: overrides of a spec, and the values that have to follow so that it stays one machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_origin

from simulator import units
from simulator.machine import Duration, Machine, Provenance
from simulator.schema import Entry, schema
from simulator.specfile import LATENCY_SIZE_EXPONENT, Leaf, Tree, parse_pair
from simulator.units import Dimension, UnitError
from simulator.yamlfile import Document, Fault, suggest

_FOLLOWERS: dict[str, tuple[tuple[str, Dimension], ...]] = {
    "memory.bandwidth": (
        ("memory.read_bandwidth", Dimension.BANDWIDTH),
        ("memory.transfer_rate", Dimension.TRANSFERS),
    ),
    "memory.channels": (("memory.bandwidth", Dimension.BANDWIDTH), ("memory.read_bandwidth", Dimension.BANDWIDTH)),
    "memory.transfer_rate": (("memory.bandwidth", Dimension.BANDWIDTH), ("memory.read_bandwidth", Dimension.BANDWIDTH)),
}
"""Set value -> values that scale with it unless they are set too."""

_OWN = {
    "memory.bandwidth": Dimension.BANDWIDTH,
    "memory.channels": Dimension.COUNT,
    "memory.transfer_rate": Dimension.TRANSFERS,
}


def apply_overrides(
    tree: Tree, overrides: Mapping[str, str], *, scale_latency: bool
) -> tuple[Tree, list[Fault], list[str]]:
    """(new tree, faults, notes on values that followed)."""
    faults: list[Fault] = []
    notes: list[str] = []
    before = tree
    for path, text in overrides.items():
        name = f"--set {path}={text}"
        entry, fault = _entry_at(path, name)
        if entry is None:
            faults.append(fault)  # type: ignore[arg-type]
            continue
        tree = _put(tree, path, _leaf(name, path, text))
    for path, text in overrides.items():
        if faults:
            break
        name = f"--set {path}={text}"
        try:
            tree = _follow(tree, before, path, overrides, name, notes, scale_latency)
        except UnitError:
            continue  # the conversion reports it with its place
    return tree, faults, notes


def _leaf(name: str, path: str, value: Any) -> Leaf:
    document = Document(name, None)
    return Leaf(value, document, (), Provenance("estimated", f"set: {path}", 0.0))


def _entry_at(path: str, name: str) -> tuple[Entry | None, Fault | None]:
    kind: Any = Machine
    parts = path.split(".")
    for depth, part in enumerate(parts):
        entries = schema(kind)
        entry = entries.get(part)
        if entry is None:
            near = suggest(part, entries)
            whole = ".".join([*parts[:depth], near, *parts[depth + 1 :]]) if near else ""
            place = ".".join(parts[:depth]) or "a spec"
            return None, Fault(name, 0, 0, "", f"{place} has no field {part!r}", "", whole)
        last = depth == len(parts) - 1
        section = hasattr(entry.kind, "__dataclass_fields__") and entry.unit is None
        if last and section:
            options = ", ".join(f"{path}.{key}" for key in list(schema(entry.kind))[:3])
            return None, Fault(name, 0, 0, "", f"{path} is a section; set a field of it, e.g. {options}")
        if last and entry.unit is None and entry.kind is not str and get_origin(entry.kind) is not Literal:
            return None, Fault(name, 0, 0, "", f"{path} cannot be set from the command line; write a spec with 'base:'")
        if last:
            return entry, None
        if not section:
            return None, Fault(name, 0, 0, "", f"{'.'.join(parts[: depth + 1])} is a value and has no fields")
        kind = entry.kind
    return None, None


def _get(tree: Tree, path: str) -> Leaf | None:
    node: Any = tree
    for part in path.split("."):
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    return node if isinstance(node, Leaf) else None


def _put(tree: Any, path: str, leaf: Leaf) -> Tree:
    head, _, rest = path.partition(".")
    copy = dict(tree) if isinstance(tree, dict) else {}
    copy[head] = _put(copy.get(head, {}), rest, leaf) if rest else leaf
    return copy


def _follow(
    tree: Tree, before: Tree, path: str, overrides: Mapping[str, str], name: str, notes: list[str], scale_latency: bool
) -> Tree:
    old, new = _get(before, path), _get(tree, path)
    if old is None or new is None:
        return tree
    if path in _OWN:
        factor = units.parse(new.value, _OWN[path]) / units.parse(old.value, _OWN[path])
        for other, dimension in _FOLLOWERS[path]:
            if other not in overrides and (leaf := _get(tree, other)) is not None:
                value = units.format_quantity(units.parse(leaf.value, dimension) * factor, dimension)
                tree = _put(tree, other, _leaf(name, other, value))
                notes.append(f"{other} follows {path}: {value}")
    parts = path.split(".")
    if len(parts) == 3 and parts[0] == "caches" and parts[2] == "size":
        factor = units.parse(new.value, Dimension.SIZE) / units.parse(old.value, Dimension.SIZE)
        sets = f"caches.{parts[1]}.sets"
        if sets not in overrides and (leaf := _get(tree, sets)) is not None and leaf.value is not None:
            tree = _put(tree, sets, _leaf(name, sets, units.parse(leaf.value, Dimension.COUNT) * factor))
        latency = f"caches.{parts[1]}.latency"
        if scale_latency and latency not in overrides and (leaf := _get(tree, latency)) is not None:
            scale = factor**LATENCY_SIZE_EXPONENT
            given = parse_pair(leaf.value, Duration)
            terms = [(given.cycles, Dimension.CYCLES), (given.seconds, Dimension.TIME)]
            value = " + ".join(units.format_quantity(float(f"{v * scale:.4g}"), d) for v, d in terms if v) or "0 cycles"
            tree = _put(tree, latency, _leaf(name, latency, value))
            notes.append(f"{latency} follows the size (x size^{LATENCY_SIZE_EXPONENT:g}): {value}")
    return tree
