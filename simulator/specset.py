"""`--set caches.L2.size=4MiB`: overrides of a spec, and the values that have to follow so that it stays one machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_origin

from simulator import units
from simulator.machine import Duration, Machine, Memory, Provenance, interpolate_log
from simulator.schema import Entry, schema
from simulator.spectree import Leaf, Tree
from simulator.specvalue import parse_curve, parse_pair
from simulator.units import Dimension, UnitError
from simulator.yamlfile import Document, Fault, suggest

LATENCY_SIZE_EXPONENT = 0.15
"""latency ~ size^0.15 when only a cache's size is changed.

Chosen between two published pairs: Zen 3's L3 with and without stacked SRAM (47 -> 50 cycles for 32 -> 96 MiB, exponent
ln(50/47) / ln 3 = 0.06; chipsandcheese.com, deep-diving-zen-3-v-cache) and the step from Ice Lake's to Sapphire Rapids' L2
(14 -> 16 cycles for 1.25 -> 2 MiB, 0.28; chipsandcheese.com, a-peek-at-sapphire-rapids), which also changed the process and
the core. Wire delay alone would give 0.5, the pessimistic bound: ask for it with `--set caches.L2.latency=...`.
"""

_MEMORY = ("memory.channels", "memory.transfer_rate", "memory.channel_width")
"""The factors of memory.bandwidth."""
_DIMENSIONS = {
    "memory.channels": Dimension.COUNT,
    "memory.transfer_rate": Dimension.TRANSFERS,
    "memory.channel_width": Dimension.SIZE,
    "memory.bandwidth": Dimension.BANDWIDTH,
    "memory.read_bandwidth": Dimension.BANDWIDTH,
}
_CLOCKS = ("scalar", "avx2", "avx512", "amx", "neon")


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
    if not faults:
        try:
            follower = _Followers(tree, before, overrides, notes)
            follower.memory()
            follower.caches(scale_latency)
            follower.clocks()
            tree = follower.tree
        except UnitError:
            pass  # the conversion reports it with its place
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


class _Followers:
    """Values that have to move with the ones that were set, so that a what-if is one --set. A value that is set stays."""

    def __init__(self, tree: Tree, before: Tree, overrides: Mapping[str, str], notes: list[str]) -> None:
        self.tree, self.before, self.overrides, self.notes = tree, before, overrides, notes

    def memory(self) -> None:
        """bandwidth = channels x transfer_rate x channel_width; read_bandwidth keeps its share of it."""
        product = 1.0
        for path in _MEMORY:
            product *= self._factor(path)
        if "memory.bandwidth" not in self.overrides:
            change = product
            self._scale("memory.bandwidth", product, ", ".join(p for p in _MEMORY if p in self.overrides))
        else:
            change = self._factor("memory.bandwidth")
            self._scale("memory.transfer_rate", change / product, "memory.bandwidth")
        self._scale("memory.read_bandwidth", change, "memory.bandwidth")

    def caches(self, scale_latency: bool) -> None:
        """A cache that grows has more sets (its ways stay) and answers later."""
        for level in ("L1", "L2", "L3", "L4"):
            size, sets, latency = (f"caches.{level}.{key}" for key in ("size", "sets", "latency"))
            factor, ways = self._factor(size), self._factor(f"caches.{level}.ways")
            leaf = _get(self.tree, sets)
            if factor != ways and sets not in self.overrides and leaf is not None and leaf.value is not None:
                count = units.parse(leaf.value, Dimension.COUNT) * factor / ways
                causes = ", ".join(p for p in (size, f"caches.{level}.ways") if p in self.overrides)
                self._put(sets, int(count) if count.is_integer() else count, causes)
            leaf = _get(self.tree, latency)
            if factor != 1.0 and scale_latency and latency not in self.overrides and leaf is not None:
                scale = factor**LATENCY_SIZE_EXPONENT
                given = parse_pair(leaf.value, Duration)
                terms = ((given.cycles, Dimension.CYCLES), (given.seconds, Dimension.TIME))
                parts = [units.format_quantity(float(f"{v * scale:.4g}"), d) for v, d in terms if v]
                self._put(latency, " + ".join(parts) or "0 cycles", f"the size (x size^{LATENCY_SIZE_EXPONENT:g})")

    def clocks(self) -> None:
        """Clock curves end at the last core that exists."""
        if "cores_per_socket" not in self.overrides:
            return
        cores = units.parse(self.overrides["cores_per_socket"], Dimension.COUNT)
        for name in _CLOCKS:
            path = f"clock.{name}"
            leaf = _get(self.tree, path)
            if path in self.overrides or leaf is None or leaf.value is None or cores < 1.0:
                continue
            curve = parse_curve(leaf.value, Dimension.FREQUENCY)
            if curve[-1][0] <= cores:
                continue
            kept = [point for point in curve if point[0] < cores]
            end = (cores, float(f"{interpolate_log(curve, cores):.10g}"))
            points = [[x, units.format_quantity(y, Dimension.FREQUENCY)] for x, y in (*kept, end)]
            self._put(path, points, "cores_per_socket", f"ends at {cores:g} cores with {points[-1][1]}")

    def _factor(self, path: str) -> float:
        """New over old of a value that was set; 1 where it was not, or where a ratio has no meaning."""
        old, new = _get(self.before, path), _get(self.tree, path)
        if path not in self.overrides or new is None:
            return 1.0
        dimension = _DIMENSIONS.get(path, Dimension.SIZE if path.endswith(".size") else Dimension.COUNT)
        above = units.parse(new.value, dimension)
        if old is not None and old.value is not None:
            below = units.parse(old.value, dimension)
        else:
            below = Memory.channel_bytes if path == "memory.channel_width" else 0.0
        return above / below if above > 0.0 and below > 0.0 else 1.0

    def _scale(self, path: str, factor: float, because: str) -> None:
        leaf = _get(self.tree, path)
        if factor == 1.0 or path in self.overrides or leaf is None:
            return
        value = float(f"{units.parse(leaf.value, _DIMENSIONS[path]) * factor:.15g}")
        self._put(path, units.format_quantity(value, _DIMENSIONS[path]), because)

    def _put(self, path: str, value: Any, because: str, shown: str = "") -> None:
        causes = [cause for cause in self.overrides if cause in because] or list(self.overrides)
        name = ", ".join(f"--set {cause}={self.overrides[cause]}" for cause in causes)
        self.tree = _put(self.tree, path, _leaf(name, path, value))
        self.notes.append(f"{path} follows {because}: {shown or value}")
