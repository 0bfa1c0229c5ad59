"""Spec YAML -> Machine: strict keys, `base:` inheritance, provenance, every fault with file, line and column.

A file states `format_version: 1`, optionally `base: <id>` (a deep merge: mappings merge, everything else is replaced) or
`abstract: true` (a base that is no machine), and the fields of `simulator.machine.Machine` under their file keys. Any mapping
may carry `provenance:`, `source:` and `interval:` for the values in it and below; a value may be written out as
`{value: 48 KiB, provenance: measured, source: "...", interval: 5 %, note: "..."}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, get_origin

from simulator import units, yamlfile
from simulator.machine import DEFAULT_INTERVALS, FORMAT_VERSION, Curve, Duration, Machine, Provenance, Rate
from simulator.schema import Entry, schema
from simulator.units import Dimension, UnitError
from simulator.yamlfile import Document, Fault, Location, SpecFileError, dotted, shown, suggest

SPEC_FOLDER = Path(__file__).resolve().parent.parent / "hardware_specs"
SUBFOLDERS = ("", "future", "calibrated", "base")
MAX_BASES = 8
KINDS = tuple(DEFAULT_INTERVALS)
_NO_PROVENANCE = "no provenance: give the value, its section or the file 'provenance:' and 'source:'"
_MISSING = "missing"
_HEAD = ("format_version", "base", "abstract")
_SECTION = ("provenance", "source", "interval")
_VALUE = ("value", "provenance", "source", "interval", "note")

LATENCY_SIZE_EXPONENT = 0.15
"""latency ~ size^0.15 when only a cache's size is changed.

Chosen between two published pairs: Zen 3's L3 with and without stacked SRAM (47 -> 50 cycles for 32 -> 96 MiB, exponent
ln(50/47) / ln 3 = 0.06; chipsandcheese.com, deep-diving-zen-3-v-cache) and the step from Ice Lake's to Sapphire Rapids' L2
(14 -> 16 cycles for 1.25 -> 2 MiB, 0.28; chipsandcheese.com, a-peek-at-sapphire-rapids), which also changed the process and
the core. Wire delay alone would give 0.5, the pessimistic bound: ask for it with `--set caches.L2.latency=...`.
"""
_ABSTRACT = re.compile(r"^abstract:[ \t]*(?:true|True|TRUE)[ \t]*(?:#.*)?$", re.MULTILINE)


# --- the merged tree ----------------------------------------------------------------------------------------------


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


def _tree(data: Any, location: Location, document: Document, kind: Any, inherited: tuple[Any, ...]) -> Any:
    """Wraps a file's data into Leaf and Tree along the schema; unknown keys become leaves and are judged later."""
    if is_dataclass(kind) and not _is_pair(kind) and isinstance(data, dict) and not _is_value(data):
        _check_provenance(data, location, document)
        given = (
            data.get("provenance", inherited[0]),
            data.get("source", inherited[1]),
            _interval(data, location, document, None if "provenance" in data else inherited[2]),
        )
        entries = schema(kind)  # type: ignore[arg-type]
        tree: Tree = {}
        for key, value in data.items():
            if key in _SECTION or (not location and key in _HEAD):
                continue
            inner = entries[key].kind if key in entries else None
            tree[key] = _tree(value, (*location, key), document, inner, given)
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


def _merge(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        merged = dict(base)
        for key, value in over.items():
            merged[key] = _merge(base[key], value) if key in base else value
        return merged
    return over


def _is_pair(kind: Any) -> bool:
    return kind in (Duration, Rate)


# --- reading ------------------------------------------------------------------------------------------------------


def machine_files(folder: Path = SPEC_FOLDER) -> dict[str, Path]:
    """id -> file of everything under hardware_specs/, abstract bases included."""
    found: dict[str, Path] = {}
    for sub in SUBFOLDERS:
        for path in sorted((folder / sub).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def available_machines(folder: Path = SPEC_FOLDER) -> list[str]:
    """Ids of the shipped machines: servers first, then future ones; files with `abstract: true` left out."""
    return [name for name, path in machine_files(folder).items() if not _is_abstract(path)]


def _is_abstract(path: Path) -> bool:
    """Whether a file calls itself abstract; read as text, because listing names must not cost parsing every spec."""
    try:
        return _ABSTRACT.search(path.read_bytes()[: yamlfile.MAX_BYTES].decode("utf-8", "replace")) is not None
    except OSError:
        return False


def find(reference: str | Path, folder: Path = SPEC_FOLDER) -> Path:
    """The file of a machine id, or the path itself. Raises SpecFileError for an unknown id."""
    text = str(reference)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        return Path(text)
    known = machine_files(folder)
    if text in known:
        return known[text]
    public = available_machines(folder)
    near = suggest(text, public)
    rule = "no machine of this name; lookupsim spec list shows them"
    raise SpecFileError([Fault(text or "''", 0, 0, "", rule, "", near)])


@dataclass(frozen=True)
class Reading:
    """What a spec file came to: the machine (None with faults), the faults, and warnings that stop nothing."""

    machine: Machine | None
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...] = ()


def load_machine(
    reference: str | Path,
    overrides: Mapping[str, str] | None = None,
    *,
    scale_latency: bool = True,
    folder: Path = SPEC_FOLDER,
) -> Machine:
    """The machine of an id or file, with `--set`-style overrides. Raises SpecFileError with every fault."""
    path = find(reference, folder)
    return _loaded(read_spec(yamlfile.load(path), path.stem, folder, overrides, scale_latency=scale_latency))


def load_machine_text(
    text: str,
    name: str = "spec.yaml",
    overrides: Mapping[str, str] | None = None,
    *,
    scale_latency: bool = True,
    folder: Path = SPEC_FOLDER,
) -> Machine:
    """The machine of a spec that is text; `name` is its file name in messages."""
    document = yamlfile.load(name, text)
    return _loaded(read_spec(document, Path(name).stem, folder, overrides, scale_latency=scale_latency))


def check_file(path: str | Path, folder: Path = SPEC_FOLDER) -> Reading:
    """Reads one file and reports everything that is wrong or odd; abstract bases are checked as far as they go."""
    document = yamlfile.load(path)
    return read_spec(document, Path(path).stem, folder, None)


def _loaded(reading: Reading) -> Machine:
    if reading.machine is None:
        raise SpecFileError(reading.faults)
    return reading.machine


def read_spec(
    document: Document,
    identity: str,
    folder: Path,
    overrides: Mapping[str, str] | None,
    *,
    scale_latency: bool = True,
) -> Reading:
    """Merges bases, applies overrides, converts units and checks; collects all faults."""
    from simulator import speccheck
    from simulator.specset import apply_overrides

    tree, abstract, documents = _inherited(document, folder, ())
    faults = [fault for doc in documents for fault in doc.faults]
    if tree is None:
        return Reading(None, tuple(faults))
    partial = abstract or any(fault.field == "base" for fault in faults)
    if abstract:
        faults += _convert(tree, Machine, document, partial=True)[1]
        return Reading(None, tuple(faults)) if faults else Reading(None, (_abstract_fault(document),))
    notes: list[str] = []
    if overrides:
        tree, more, notes = apply_overrides(tree, overrides, scale_latency=scale_latency)
        faults += more
    values, more = _convert(tree, Machine, document, partial=partial)
    faults += _new(faults, more)
    if faults:
        return Reading(None, SpecFileError(faults).faults)
    machine, more = _validate(values, tree, identity)
    faults += more
    if machine is None:
        return Reading(None, tuple(faults))
    errors, warnings = speccheck.check(machine, lambda path: _locate(tree, path, document))
    if errors:
        return Reading(None, tuple(errors), tuple(warnings))
    if notes:
        machine = replace(machine, notes="; ".join([*([machine.notes] if machine.notes else []), *notes]))
    return Reading(machine, (), tuple(warnings))


def _new(known: list[Fault], more: list[Fault]) -> list[Fault]:
    """Faults of places that have none yet; values without provenance are one fault a file, not fifty."""
    places = {(fault.file, fault.line, fault.column) for fault in known}
    doubted = {fault.file for fault in known if fault.field.endswith("provenance")}
    found: list[Fault] = []
    for fault in sorted(more, key=lambda f: f.rule == _NO_PROVENANCE):
        if fault.rule == _NO_PROVENANCE:
            if fault.file in doubted:
                continue
            doubted.add(fault.file)
            count = sum(other.rule == _NO_PROVENANCE and other.file == fault.file for other in more)
            if count > 1:
                fault = replace(fault, rule=f"{_NO_PROVENANCE}; {count - 1} more values have none either")
        if (fault.file, fault.line, fault.column) not in places or not fault.line or fault.rule == _MISSING:
            found.append(fault)
            if fault.rule != _MISSING:  # several may be missing from one section, and hide nothing there
                places.add((fault.file, fault.line, fault.column))
    return found


def _abstract_fault(document: Document) -> Fault:
    line, column = document.mark(("abstract",))
    return Fault(document.file, line, column, "abstract", "this is a base for other specs, not a machine")


def _inherited(document: Document, folder: Path, seen: tuple[str, ...]) -> tuple[Tree | None, bool, list[Document]]:
    """(merged tree, is abstract, all documents read) of a document and its bases."""
    data = document.data
    if document.faults and data is None:
        return None, False, [document]
    if not isinstance(data, dict):
        document.fault((), "a spec is a mapping of fields", shown(data))
        return None, False, [document]
    version = data.get("format_version")
    if version is None:
        document.fault((), f"format_version is missing: write 'format_version: {FORMAT_VERSION}' as the first line")
    elif version != FORMAT_VERSION or isinstance(version, bool):
        rule = f"this version reads format {FORMAT_VERSION}: compare with a shipped spec and set format_version: {FORMAT_VERSION}"
        document.fault(("format_version",), rule, shown(version))
    abstract = data.get("abstract", False)
    if not isinstance(abstract, bool):
        document.fault(("abstract",), "must be true or false", shown(abstract))
        abstract = False
    tree: Tree = _tree(data, (), document, Machine, (None, None, None))
    base = data.get("base")
    if base is None:
        return tree, abstract, [document]
    path = _base_path(base, document, folder)
    if path is None:
        return tree, abstract, [document]
    if str(path) in seen or len(seen) >= MAX_BASES:
        rule = "the bases of this spec go round in a circle" if str(path) in seen else f"at most {MAX_BASES} bases"
        document.fault(("base",), rule, shown(base))
        return tree, abstract, [document]
    parent, _, documents = _inherited(yamlfile.load(path), folder, (*seen, str(path)))
    return (tree if parent is None else _merge(parent, tree)), abstract, [*documents, document]


def _base_path(base: Any, document: Document, folder: Path) -> Path | None:
    if not isinstance(base, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", base):
        document.fault(("base",), "must be the id of a spec (letters, digits, '-', '_' and '.')", shown(base))
        return None
    beside = Path(document.file).parent / f"{base}.yaml"
    if beside.is_file() and beside.name != Path(document.file).name:
        return beside
    known = machine_files(folder)
    if base in known:
        return known[base]
    document.fault(
        ("base",), "no spec of this name beside the file or in hardware_specs", shown(base), suggest(base, known)
    )
    return None


# --- conversion ---------------------------------------------------------------------------------------------------


def _convert(
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
            values[key], more = _convert(node, entry.kind, document, f"{path}{key}.", partial=partial)
            faults += more
        elif is_dataclass(entry.kind) and not _is_pair(entry.kind):
            if node.value is None and not entry.required:
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
                faults.append(node.fault(_NO_PROVENANCE))
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
    return Fault(document.file, line, column, f"{path}{key}", _MISSING)


def _leaves(node: Any) -> Iterator[Leaf]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _leaves(value)
    else:
        yield node


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


# --- validation ---------------------------------------------------------------------------------------------------


def _validate(values: dict[str, Any], tree: Tree, identity: str) -> tuple[Machine | None, list[Fault]]:
    from pydantic import TypeAdapter, ValidationError

    provenance = dict(_provenances(tree, ""))
    try:
        machine = TypeAdapter(Machine).validate_python(values)
    except ValidationError as error:
        return None, [_pydantic_fault(item, tree) for item in error.errors(include_url=False)]
    return replace(machine, provenance=provenance, id=identity), []


def _provenances(tree: Tree, path: str, kind: Any = Machine) -> Iterator[tuple[str, Provenance]]:
    for key, node in tree.items():
        entry = schema(kind).get(key)
        if entry is None:
            continue
        if isinstance(node, dict):
            yield from _provenances(node, f"{path}{key}.", entry.kind)
        elif node.provenance is not None and node.value is not None and entry.unit is not None:
            yield f"{path}{key}", node.provenance


_PYDANTIC_RULES = {
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_type": "must be text",
}


def _pydantic_fault(item: Any, tree: Tree) -> Fault:
    location = tuple(part for part in item["loc"] if isinstance(part, str))
    leaf = _locate(tree, ".".join(location))
    rule = _PYDANTIC_RULES.get(item["type"], "").format(**item.get("ctx", {}))
    suggestion = ""
    got = shown(item["input"])
    if isinstance(item["input"], float) and isinstance(leaf.value, (str, int, float)):
        got = str(leaf.value)
    if item["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", item["ctx"]["expected"])
        rule = f"must be one of {', '.join(choices)}"
        suggestion = suggest(str(item["input"]), choices)
    return leaf.fault(rule or str(item["msg"]).lower(), got, suggestion)


def _locate(tree: Tree, path: str, document: Document | None = None) -> Leaf:
    """The leaf at a dotted path, or else the first one of the innermost section on the way (in `document`, if it has any)."""
    node: Any = tree
    for part in path.split("."):
        if isinstance(node, dict) and part in node:
            node = node[part]
        else:
            break
    if not isinstance(node, dict):
        leaf: Leaf = node
        return leaf
    leaves = list(_leaves(node))
    return next((leaf for leaf in leaves if leaf.document is document), leaves[0])
