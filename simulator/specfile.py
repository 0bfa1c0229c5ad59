"""Spec YAML -> Machine: strict keys, `base:` inheritance, provenance, every fault with file, line and column.

A file states `format_version: 1`, optionally `base: <id>` (a deep merge: mappings merge, everything else is replaced) or
`abstract: true` (a base that is no machine), and the fields of `simulator.machine.Machine` under their file keys. Any mapping
may carry `provenance:`, `source:` and `interval:` for the values in it and below; a value may be written out as
`{value: 48 KiB, provenance: measured, source: "...", interval: 5 %, note: "..."}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simulator import speccheck, yamlfile
from simulator.machine import FORMAT_VERSION, Machine, Provenance
from simulator.schema import schema
from simulator.specset import apply_overrides
from simulator.spectree import NO_PROVENANCE, Leaf, Tree, leaves_of, merge, tree_of
from simulator.specvalue import MISSING, convert
from simulator.yamlfile import Document, Fault, SpecFileError, shown, suggest

SPEC_FOLDER = Path(__file__).resolve().parent.parent / "hardware_specs"
SUBFOLDERS = ("", "future", "calibrated", "base")
MAX_BASES = 8


_ABSTRACT = re.compile(r"^abstract:[ \t]*(?:true|True|TRUE)[ \t]*(?:#.*)?$", re.MULTILINE)


def machine_files(folder: Path = SPEC_FOLDER) -> dict[str, Path]:
    """id -> file of everything under hardware_specs/, abstract bases included."""
    found: dict[str, Path] = {}
    for sub in SUBFOLDERS:
        for path in sorted((folder / sub).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def available_machines(folder: Path = SPEC_FOLDER) -> list[str]:
    """Ids of the shipped machines: servers first, then future ones; files with `abstract: true` and specs that were calibrated to
    this host left out."""
    files = machine_files(folder).items()
    return [name for name, path in files if path.parent.name != "calibrated" and not _is_abstract(path)]


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

    tree, abstract, documents = _inherited(document, folder, ())
    faults = [fault for doc in documents for fault in doc.faults]
    if tree is None:
        return Reading(None, tuple(faults))
    partial = abstract or any(fault.field == "base" for fault in faults)
    if abstract:
        faults += convert(tree, Machine, document, partial=True)[1]
        return Reading(None, tuple(faults)) if faults else Reading(None, (_abstract_fault(document),))
    notes: list[str] = []
    if overrides:
        tree, more, notes = apply_overrides(tree, overrides, scale_latency=scale_latency)
        faults += more
    values, more = convert(tree, Machine, document, partial=partial)
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
    for fault in sorted(more, key=lambda f: f.rule == NO_PROVENANCE):
        if fault.rule == NO_PROVENANCE:
            if fault.file in doubted:
                continue
            doubted.add(fault.file)
            count = sum(other.rule == NO_PROVENANCE and other.file == fault.file for other in more)
            if count > 1:
                fault = replace(fault, rule=f"{NO_PROVENANCE}; {count - 1} more values have none either")
        if (fault.file, fault.line, fault.column) not in places or not fault.line or fault.rule == MISSING:
            found.append(fault)
            if fault.rule != MISSING:  # several may be missing from one section, and hide nothing there
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
    tree: Tree = tree_of(data, (), document, Machine, (None, None, None))
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
    return (tree if parent is None else merge(parent, tree)), abstract, [*documents, document]


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
    leaves = list(leaves_of(node))
    return next((leaf for leaf in leaves if leaf.document is document), leaves[0])
