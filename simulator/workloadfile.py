"""Workload files into Workloads: YAML, or a Hugging Face `config.json` on disk; every fault of a file at once.

A file names its `kind` (`gemm` or `lookup`) and then states fields under the names that `GemmFfn`, `LookupFfn` and
`Workload` have. Nothing that is not in the tables below passes, and nothing downstream checks again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from simulator.huggingface import is_directory, read_config
from simulator.indexfile import MAX_LISTED_ROWS, MAX_ROWS, read_indices
from simulator.workload import (
    PAGE_2M_BYTES,
    PAGE_4K_BYTES,
    PROJECTION_DTYPES,
    Activation,
    GemmDtype,
    GemmFfn,
    LookupFfn,
    ProjectionDtype,
    Residency,
    TableDtype,
    Workload,
    derive_lookup,
    padded_hidden,
    with_dtype,
)
from simulator.workloadreader import FORMAT_VERSION, OVERRIDE, Read, Reader
from simulator.yamlfile import Fault, Location, SpecFileError, load, shown, suggest

__all__ = [
    "available_workloads",
    "derive_lookup",
    "load_huggingface_config",
    "load_workload",
    "parse_workload",
    "with_dtype",
]

WORKLOADS = Path(__file__).resolve().parents[1] / "workloads"


def available_workloads() -> tuple[str, ...]:
    """Ids of the shipped workloads, sorted."""
    return tuple(sorted(path.stem for path in WORKLOADS.glob("*.yaml")))


def load_workload(path_or_id: str | Path, overrides: Mapping[str, Any] | None = None) -> Workload:
    """A shipped workload by id, a YAML file, a Hugging Face `config.json`, or a directory that holds one.

    `overrides`: dotted field -> value, over what the file says ("batch": 64, "indices.skew": "0.8"); text is read as
    YAML. Raises SpecFileError with every fault.
    """
    text = str(path_or_id)
    if text in available_workloads():
        return _finish(Reader(load(WORKLOADS / f"{text}.yaml"), WORKLOADS), overrides, text)
    path = Path(path_or_id)
    if text and (is_directory(path) or path.suffix.lower() == ".json"):
        return load_huggingface_config(path, overrides)
    if not text or (not path.suffix and os.sep not in text and not _exists(path)):
        choices = available_workloads()
        rule = f"no such workload; there are {', '.join(choices)}, or give a YAML file or a config.json"
        raise SpecFileError(
            [Fault(text if text.isprintable() and text else repr(text), 0, 0, "", rule, "", suggest(text, choices))]
        )
    return _finish(Reader(load(path), path.parent), overrides, path.stem)


def load_huggingface_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Workload:
    """The FFN of a model from its `config.json` (or the directory that holds it), in fp32 unless overridden."""
    reader, stem = read_config(path, overrides or {})
    return _finish(reader, overrides, stem)


def parse_workload(name: str, text: str, overrides: Mapping[str, Any] | None = None) -> Workload:
    """A workload from YAML text that came without a file system: it may name shipped workloads but no other file."""
    return _finish(Reader(load(name, text), None), overrides, Path(name).stem)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _whole(low: int, high: int) -> Read:
    return lambda reader, location, value: reader.whole(location, value, low, high)


def _choice(choices: tuple[str, ...]) -> Read:
    return lambda reader, location, value: reader.choice(location, value, choices)


def _power_of_two(low: int, high: int) -> Read:
    def read(reader: Reader, location: Location, value: Any) -> float | None:
        number = reader.whole(location, value, low, high)
        if number is not None and math.frexp(number)[0] != 0.5:
            near = 2.0 ** round(math.log2(number))
            reader.fault(location, "must be a power of two", shown(value), f"{near:.0f}" if near >= low else "")
            return None
        return number

    return read


def _page_size(reader: Reader, location: Location, value: Any) -> float | None:
    size = reader.size(location, value)
    if size is not None and size not in (PAGE_4K_BYTES, PAGE_2M_BYTES):
        reader.fault(location, "4 KiB or 2 MiB is needed", shown(value))
        return None
    return size


_text: Read = Reader.text

_truth: Read = Reader.truth

_size: Read = Reader.size

COMMON: dict[str, Read] = {
    "format_version": _whole(FORMAT_VERSION, FORMAT_VERSION),
    "kind": _choice(("gemm", "lookup")),
    "name": _text,
    "source": _text,
    "verified": _truth,
    "layers": _whole(1, 10_000),
    "batch": _whole(1, 1 << 30),
    "threads": _whole(1, 1 << 16),
    "residency": _choice(get_args(Residency)),
    "evicted_bytes_between_layers": _size,
    "page_size": _page_size,
    "hidden": _whole(1, 1 << 20),
}

KINDS: dict[str, dict[str, Read]] = {
    "gemm": {
        "intermediate": _whole(1, 1 << 22),
        "dtype": _choice(get_args(GemmDtype)),
        "gated": _truth,
        "activation": _choice(get_args(Activation)),
        "bias": _truth,
    },
    "lookup": {
        "dense": _text,
        "output": _whole(1, 1 << 20),
        "tables": _whole(1, 1 << 20),
        "rows": _power_of_two(2, MAX_ROWS),
        "projection": _choice(("bh4", "dense")),
        "projection_outputs": _whole(1, 1 << 30),
        "block": _power_of_two(1, 1 << 20),
        "stages": _whole(1, 16),
        "table_dtype": _choice(get_args(TableDtype)),
        "projection_dtype": _choice(get_args(ProjectionDtype)),
        "indices": read_indices,
    },
}

REQUIRED: dict[str, tuple[str, ...]] = {
    "gemm": ("layers", "hidden", "intermediate"),
    "lookup": ("tables", "rows"),
}

SHAPE_FIELDS = frozenset({"gated", "activation", "bias", "hidden", "intermediate", "output"}) | frozenset(
    {"tables", "rows", "projection", "block", "stages"}
)
"""Fields that make another network when overridden: what was verified of the file no longer holds."""

WORKLOAD_FIELDS = ("layers", "batch", "threads", "residency", "evicted_bytes_between_layers", "source", "verified")


def _finish(reader: Reader, overrides: Mapping[str, Any] | None, stem: str) -> Workload:
    """The workload, or SpecFileError with every fault found."""
    document = reader.document
    if isinstance(document.data, dict):
        _apply(reader, overrides or {})
        workload = _build(reader, stem)
        if workload is not None and not document.faults:
            return workload
    elif not document.faults:
        document.fault((), "a mapping of keys to values is needed", shown(document.data))
    raise SpecFileError(document.faults)


def _apply(reader: Reader, overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        location: Location = tuple(key.split("."))
        read = value
        if isinstance(value, str):
            probe = load(OVERRIDE, value)
            read = probe.data
            faults = [] if not value.strip() else probe.faults
            for fault in faults:
                reader.document.faults.append(Fault(OVERRIDE, 0, 0, key, fault.rule, fault.got, fault.suggestion))
        elif isinstance(value, tuple):
            read = list(value)
        target = reader.data
        for depth, part in enumerate(location[:-1], start=1):
            if not isinstance(target.get(part), dict):
                reader.overridden.add(location[:depth])
                target[part] = {"kind": target[part]} if isinstance(target.get(part), str) else {}
            target = target[part]
        target[location[-1]] = read
        reader.overridden.add(location)
        reader.labels.pop(location, None)


def _build(reader: Reader, stem: str) -> Workload | None:
    data = reader.data
    for key in ("format_version", "kind", "name"):
        if key not in data:
            reader.fault((), f"missing key '{key}'")
    if "format_version" in data and data["format_version"] != FORMAT_VERSION:
        got = shown(data["format_version"])
        reader.fault(("format_version",), f"must be {FORMAT_VERSION}, the version this program reads", got)
    kind = data.get("kind")
    known = COMMON | (KINDS[kind] if kind in ("gemm", "lookup") else KINDS["gemm"] | KINDS["lookup"])
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key in known:
            values[key] = None if reader.broken((key,)) else known[key](reader, (key,), value)
        elif owner := next((name for name, fields in KINDS.items() if key in fields), None):
            reader.fault((key,), f"belongs to kind '{owner}', not '{kind}'", at_key=True)
        else:
            reader.fault((key,), "unknown key", suggestion=suggest(str(key), known), at_key=True)
    if values.get("kind") is None:
        return None
    for key in REQUIRED[str(kind)]:
        if key not in data:
            reader.fault((), f"missing key '{key}', which kind '{kind}' needs")
    operator = _gemm(values) if kind == "gemm" else _lookup(reader, values)
    if operator is None or any(value is None for value in values.values()):
        return None
    fields = {"verified": False} | {key: values[key] for key in WORKLOAD_FIELDS if key in values}
    if "page_size" in values:
        fields["page_bytes"] = values["page_size"]
    name = values.get("name", stem)
    changed = sorted(key for (key, *_) in reader.overridden if key in SHAPE_FIELDS)
    if changed:
        name += " with " + ", ".join(f"{key} {shown(data[key])}" for key in changed)
        fields["verified"] = fields["verified"] and ("verified",) in reader.overridden
    return Workload(name=name, operator=operator, id=stem, dense=values.get("dense", ""), **fields)


def _gemm(values: dict[str, Any]) -> GemmFfn | None:
    if any(values.get(key) is None for key in ("hidden", "intermediate")):
        return None
    names = ("hidden", "intermediate", "dtype", "gated", "activation", "bias")
    return GemmFfn(**{name: values[name] for name in names if values.get(name) is not None})


def _lookup(reader: Reader, values: dict[str, Any]) -> LookupFfn | None:
    replaced = _dense(reader, values["dense"]) if values.get("dense") is not None else None
    if replaced is not None:
        values.setdefault("layers", replaced.layers)
        for key in ("hidden", "output"):
            values.setdefault(key, replaced.operator.hidden)
            if values[key] not in (None, replaced.operator.hidden):
                width = f"{replaced.operator.hidden:.0f}"
                rule = f"must be {width}, the hidden size of '{values['dense']}', which this replaces"
                reader.fault((key,), rule, f"{values[key]:.0f}")
    elif "dense" not in values:
        for key in ("hidden", "layers"):
            if key not in values:
                reader.fault((), f"missing key '{key}': state it, or name in 'dense' the workload that this replaces")
    if values.get("hidden") is not None:
        values.setdefault("output", values["hidden"])
    if any(values.get(name) is None for name in ("hidden", "output", "tables", "rows")):
        return None
    names = ("hidden", "output", "tables", "rows", "projection", "block", "stages", "table_dtype", "indices")
    operator = LookupFfn(
        **{name: values[name] for name in names if values.get(name) is not None},
        projection_dtype=values.get("projection_dtype") or PROJECTION_DTYPES[values.get("table_dtype") or "fp32"],
    )
    _check_shape(reader, operator, values)
    return operator


def _check_shape(reader: Reader, op: LookupFfn, values: dict[str, Any]) -> None:
    outputs = op.tables * math.log2(op.rows)
    resized = not reader.overridden.isdisjoint({("tables",), ("rows",)})
    stale = resized and ("projection_outputs",) not in reader.overridden
    if values.get("projection_outputs") not in (None, outputs) and not stale:
        rule = f"must be {outputs:.0f} = tables x log2(rows)"
        reader.fault(("projection_outputs",), rule, f"{values['projection_outputs']:.0f}")
    if op.projection == "bh4" and padded_hidden(op) % op.block:
        rule = f"must divide {padded_hidden(op):.0f}, the hidden size padded to a power of two"
        reader.fault(("block",), rule, f"{op.block:.0f}")
    if op.projection == "dense" and ("projection",) not in reader.overridden:
        for key in ("block", "stages"):
            if key in values:
                reader.fault((key,), "applies to projection 'bh4' only", at_key=True)
    indices = op.indices
    if indices.kind != "uniform" and op.rows > MAX_LISTED_ROWS:
        reader.fault(
            ("rows",), f"at most {MAX_LISTED_ROWS} rows with indices of kind '{indices.kind}'", f"{op.rows:.0f}"
        )
    if indices.kind == "histogram" and len(indices.histogram) != op.rows:
        rule = f"one share for each of the {op.rows:.0f} rows is needed"
        reader.fault(("indices", "histogram"), rule, f"{len(indices.histogram)}")


def _dense(reader: Reader, name: str) -> Workload | None:
    """The GEMM workload that a look-up replaces: a file beside it, or a shipped one."""
    if reader.folder is not None and os.sep not in name and _exists(reader.folder / f"{name}.yaml"):
        source = reader.folder / f"{name}.yaml"
    elif name in available_workloads():
        source = WORKLOADS / f"{name}.yaml"
    else:
        reader.fault(("dense",), "no such workload", shown(name), suggest(name, available_workloads()))
        return None
    document = load(source)
    if isinstance(document.data, dict) and document.data.get("kind") == "lookup":
        reader.fault(("dense",), "must name a GEMM workload, this is a look-up", shown(name))
        return None
    try:
        return _finish(Reader(document, source.parent), None, name)
    except SpecFileError as error:
        reader.fault(("dense",), "names a workload with faults of its own", shown(name))
        reader.document.faults.extend(error.faults)
        return None
