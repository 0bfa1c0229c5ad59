"""Workload files into Workloads: YAML, or a Hugging Face `config.json` on disk; every fault of a file at once.

A file names its `kind` (`gemm` or `lookup`) and then states fields under the names that `GemmFfn`, `LookupFfn` and
`Workload` have. Nothing that is not in the tables below passes, and nothing downstream checks again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from simulator.units import Dimension, UnitError, parse
from simulator.workload import (
    PAGE_2M_BYTES,
    PAGE_4K_BYTES,
    PROJECTION_DTYPES,
    Activation,
    GemmDtype,
    GemmFfn,
    IndexDistribution,
    LookupFfn,
    ProjectionDtype,
    Residency,
    TableDtype,
    Workload,
    derive_lookup,
    padded_hidden,
    with_dtype,
)
from simulator.yamlfile import Document, Fault, Location, SpecFileError, dotted, load, shown, suggest

__all__ = [
    "available_workloads",
    "derive_lookup",
    "load_huggingface_config",
    "load_workload",
    "parse_workload",
    "with_dtype",
]

WORKLOADS = Path(__file__).resolve().parents[1] / "workloads"
FORMAT_VERSION = 1
OVERRIDE = "--set"
"""The file name that faults of overridden values carry."""

MAX_ROWS = 1 << 24
MAX_LISTED_ROWS = 1 << 20
"""Rows of a table whose distribution is written out row by row (Zipf, histogram)."""

MAX_HISTOGRAM_BYTES = 32 << 20


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
        return _finish(_Reader(load(WORKLOADS / f"{text}.yaml"), WORKLOADS), overrides, text)
    path = Path(path_or_id)
    if text and (_is_directory(path) or path.suffix.lower() == ".json"):
        return load_huggingface_config(path, overrides)
    if not text or (not path.suffix and os.sep not in text and not _exists(path)):
        choices = available_workloads()
        rule = f"no such workload; there are {', '.join(choices)}, or give a YAML file or a config.json"
        raise SpecFileError(
            [Fault(text if text.isprintable() and text else repr(text), 0, 0, "", rule, "", suggest(text, choices))]
        )
    return _finish(_Reader(load(path), path.parent), overrides, path.stem)


def parse_workload(name: str, text: str, overrides: Mapping[str, Any] | None = None) -> Workload:
    """A workload from YAML text that came without a file system: it may name shipped workloads but no other file."""
    return _finish(_Reader(load(name, text), None), overrides, Path(name).stem)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


# --- reading values ------------------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """A document being read: typed access to its values, and every fault at the place it belongs to.

    `folder`: where files named inside are looked for; None allows none. `labels`: field -> the name its value had in
    the file, where that is another one.
    """

    document: Document
    folder: Path | None
    overridden: set[Location] = field(default_factory=set)
    labels: dict[Location, str] = field(default_factory=dict)

    @property
    def data(self) -> dict[Any, Any]:
        """The top-level mapping."""
        return self.document.data if isinstance(self.document.data, dict) else {}

    def fault(
        self, location: Location, rule: str, got: str = "", suggestion: str = "", *, at_key: bool = False
    ) -> None:
        """Adds a fault, unless the value at `location` has one already (the file as a whole may have several)."""
        label = self.labels.get(location, dotted(location))
        if any(location[:n] in self.overridden for n in range(1, len(location) + 1)):
            place = (OVERRIDE, 0, 0)
        else:
            mark = self.document.key_mark(location) if at_key else self.document.mark(location)
            place = (self.document.file, *mark)
        if not location or not self.broken(location):
            self.document.faults.append(Fault(*place, label, rule, got, suggestion))

    def broken(self, location: Location) -> bool:
        """Whether a fault of this value is known."""
        return any(f.field in (dotted(location), self.labels.get(location)) for f in self.document.faults)

    def whole(self, location: Location, value: Any, low: int, high: int) -> float | None:
        """A whole number within bounds, as a float."""
        number = not isinstance(value, bool) and isinstance(value, (int, float))
        if number and low <= value <= high and value == int(value):
            return float(value)
        self.fault(location, f"a whole number from {low} to {high} is needed", shown(value))
        return None

    def choice(self, location: Location, value: Any, choices: tuple[str, ...]) -> Any:
        """One of a set of words."""
        if isinstance(value, str) and value in choices:
            return value
        meant = suggest(value, choices) if isinstance(value, str) else ""
        self.fault(location, f"one of {', '.join(choices)} is needed", shown(value), meant)
        return None

    def truth(self, location: Location, value: Any) -> bool | None:
        """true or false."""
        if isinstance(value, bool):
            return value
        self.fault(location, "true or false is needed", shown(value))
        return None

    def text(self, location: Location, value: Any) -> str | None:
        """A text of sensible length."""
        if isinstance(value, str) and value.strip() and len(value) <= 500:
            return value
        self.fault(location, "a text of 1 to 500 characters is needed", shown(value))
        return None

    def size(self, location: Location, value: Any) -> float | None:
        """A number of bytes, written with its unit."""
        try:
            return parse(value, Dimension.SIZE)
        except UnitError as error:
            self.fault(location, str(error))
            return None


Read = Callable[[_Reader, Location, Any], Any]


def _whole(low: int, high: int) -> Read:
    return lambda reader, location, value: reader.whole(location, value, low, high)


def _choice(choices: tuple[str, ...]) -> Read:
    return lambda reader, location, value: reader.choice(location, value, choices)


def _power_of_two(low: int, high: int) -> Read:
    def read(reader: _Reader, location: Location, value: Any) -> float | None:
        number = reader.whole(location, value, low, high)
        if number is not None and math.frexp(number)[0] != 0.5:
            near = 2.0 ** round(math.log2(number))
            reader.fault(location, "must be a power of two", shown(value), f"{near:.0f}" if near >= low else "")
            return None
        return number

    return read


def _indices(reader: _Reader, location: Location, value: Any) -> IndexDistribution | None:
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, dict):
        reader.fault(location, "a mapping with the key 'kind' is needed, e.g. {kind: zipf, skew: 0.8}", shown(value))
        return None
    keys = ("kind", "skew", "histogram")
    for key in value:
        if key not in keys:
            reader.fault((*location, key), "unknown key", suggestion=suggest(str(key), keys), at_key=True)
    if "kind" not in value:
        reader.fault(location, "missing key 'kind': uniform, zipf or histogram")
        return None
    kind = reader.choice((*location, "kind"), value["kind"], ("uniform", "zipf", "histogram"))
    if kind is None:
        return None
    for key, owner in (("skew", "zipf"), ("histogram", "histogram")):
        if key in value and kind != owner:
            reader.fault((*location, key), f"applies to kind '{owner}' only", f"kind {shown(kind)}", at_key=True)
        if key not in value and kind == owner:
            reader.fault(location, f"missing key '{key}', which kind '{owner}' needs")
            return None
    if kind == "zipf":
        skew = value["skew"]
        if isinstance(skew, bool) or not isinstance(skew, (int, float)) or not 0.0 <= skew <= 20.0:
            reader.fault((*location, "skew"), "a number from 0 to 20 is needed", shown(skew))
            return None
        return IndexDistribution("zipf", float(skew))
    if kind == "histogram":
        shares = _histogram(reader, (*location, "histogram"), value["histogram"])
        return None if shares is None else IndexDistribution("histogram", histogram=shares)
    return IndexDistribution()


def _histogram(reader: _Reader, location: Location, value: Any) -> tuple[float, ...] | None:
    if isinstance(value, dict) and set(value) == {"file"} and isinstance(value["file"], str):
        return _histogram_file(reader, (*location, "file"), value["file"])
    if not isinstance(value, list):
        reader.fault(location, "a list of shares, or {file: path.csv}, is needed", shown(value))
        return None
    good = True
    for index, share in enumerate(value):
        if isinstance(share, bool) or not isinstance(share, (int, float)) or share < 0:
            reader.fault((*location, index), "a share or count >= 0 is needed", shown(share))
            good = False
    return _normalised(reader, location, [float(share) for share in value]) if good else None


def _histogram_file(reader: _Reader, location: Location, name: str) -> tuple[float, ...] | None:
    if reader.folder is None:
        reader.fault(location, "a file cannot be named here: write the shares as a list", shown(name))
        return None
    path = reader.folder / name
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_HISTOGRAM_BYTES + 1)
    except (OSError, ValueError) as error:
        rule = (
            "no such file"
            if not isinstance(error, OSError) or error.errno == 2
            else f"cannot be read: {error.strerror}"
        )
        reader.fault(location, rule, shown(name))
        return None
    if len(raw) > MAX_HISTOGRAM_BYTES:
        reader.fault(location, f"a histogram file may have at most {MAX_HISTOGRAM_BYTES} bytes")
        return None
    lines = raw.decode("utf-8-sig", "replace").splitlines()
    if len(lines) > MAX_LISTED_ROWS:
        reader.fault(location, f"a histogram may have at most {MAX_LISTED_ROWS} lines", str(len(lines)))
        return None
    shares: list[float] = []
    for number, line in enumerate(lines, start=1):
        try:
            share = float(line)
        except ValueError:
            share = math.nan
        if not 0.0 <= share < math.inf:
            rule = "one share or count >= 0 a line is needed"
            reader.document.faults.append(Fault(str(path), number, 1, dotted(location[:-1]), rule, shown(line)))
            return None
        shares.append(share)
    return _normalised(reader, location[:-1], shares)


def _normalised(reader: _Reader, location: Location, shares: list[float]) -> tuple[float, ...] | None:
    total = math.fsum(shares)
    if not 0.0 < total < math.inf:
        reader.fault(location, "at least one share must be above 0")
        return None
    return tuple(share / total for share in shares)


def _page_size(reader: _Reader, location: Location, value: Any) -> float | None:
    size = reader.size(location, value)
    if size is not None and size not in (PAGE_4K_BYTES, PAGE_2M_BYTES):
        reader.fault(location, "4 KiB or 2 MiB is needed", shown(value))
        return None
    return size


_text: Read = _Reader.text
_truth: Read = _Reader.truth
_size: Read = _Reader.size

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
        "indices": _indices,
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


# --- a whole file --------------------------------------------------------------------------------------------------


def _finish(reader: _Reader, overrides: Mapping[str, Any] | None, stem: str) -> Workload:
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


def _apply(reader: _Reader, overrides: Mapping[str, Any]) -> None:
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


def _build(reader: _Reader, stem: str) -> Workload | None:
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


def _lookup(reader: _Reader, values: dict[str, Any]) -> LookupFfn | None:
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


def _check_shape(reader: _Reader, op: LookupFfn, values: dict[str, Any]) -> None:
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


def _dense(reader: _Reader, name: str) -> Workload | None:
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
        return _finish(_Reader(document, source.parent), None, name)
    except SpecFileError as error:
        reader.fault(("dense",), "names a workload with faults of its own", shown(name))
        reader.document.faults.extend(error.faults)
        return None


# --- Hugging Face config.json --------------------------------------------------------------------------------------

HIDDEN_KEYS = ("hidden_size", "d_model", "n_embd", "dim")
INTERMEDIATE_KEYS = ("intermediate_size", "ffn_dim", "n_inner", "hidden_dim")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
ACTIVATION_KEYS = ("hidden_act", "hidden_activation", "activation_function", "activation")
EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")

WANTED = {"hidden": "the hidden size", "intermediate": "the intermediate size", "layers": "the number of layers"}

ACTIVATIONS: dict[str, str] = {
    **dict.fromkeys(("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "gelu_accurate"), "gelu"),
    **dict.fromkeys(("silu", "swish"), "silu"),
    "relu": "relu",
}
# fmt: off
GATED = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gemma3_text", "phi3", "olmo", "olmo2",
    "granite", "cohere", "stablelm", "smollm3",
)
"""Model types whose FFN is act(X Wg) * (X Wu); a bias only where the config says `mlp_bias`."""

PLAIN = (
    "bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "gpt2", "gpt_neo", "gpt_neox", "gptj",
    "opt", "phi",
)
# fmt: on
"""Model types whose FFN is act(X W1 + b1) W2 + b2."""

DEFAULT_ACTIVATIONS = {**dict.fromkeys(GATED, "silu"), **dict.fromkeys(PLAIN, "gelu"), "opt": "relu"}
DEFAULT_ACTIVATIONS.update(dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), "gelu"))


def load_huggingface_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Workload:
    """The FFN of a model from its `config.json` (or the directory that holds it), in fp32 unless overridden.

    Raises SpecFileError with every fault; mixtures of experts are refused.
    """
    file = Path(path)
    if _is_directory(file):
        file = file / "config.json"
    document = _read_json(file)
    stem = Path(os.path.abspath(file)).parent.name if file.name == "config.json" else file.stem
    reader = _Reader(document, None)
    if isinstance(document.data, dict) and not document.faults:
        _translate(reader, stem or "config", overrides or {})
    elif not document.faults:
        document.fault((), "a JSON object is needed", shown(document.data))
    if document.faults:
        raise SpecFileError(document.faults)
    return _finish(reader, overrides, stem or "config")


def _read_json(path: Path) -> Document:
    """A JSON file as a Document. JSON is (nearly) YAML, so the YAML reader reads the bytes and gives the marks."""
    marked = load(path)
    document = Document(str(path), None, marked.marks, marked.key_marks)
    unreadable = [f for f in marked.faults if not f.line and not f.rule.startswith("not YAML")]
    if unreadable:
        document.faults.extend(unreadable)
        return document
    try:
        document.data = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        document.faults.append(Fault(str(path), error.lineno, error.colno, "", f"not JSON: {error.msg}"))
    except UnicodeDecodeError:
        document.faults.append(Fault(str(path), 0, 0, "", "not UTF-8 text"))
    except RecursionError:
        document.faults.append(Fault(str(path), 0, 0, "", "not JSON: nested too deep"))
    except _NotJson as error:
        document.faults.append(Fault(str(path), 0, 0, "", f"not JSON: {error}"))
    except (ValueError, OSError):
        document.faults.append(Fault(str(path), 0, 0, "", "not JSON: a number has too many digits"))
    else:
        document.faults.extend(fault for fault in marked.faults if fault.rule.startswith("duplicate key"))
    return document


class _NotJson(Exception):
    """A word that Python's reader takes and JSON does not have."""


def _refuse_constant(word: str) -> Any:
    raise _NotJson(f"{word} is not a JSON number")


def _translate(reader: _Reader, stem: str, overrides: Mapping[str, Any]) -> None:
    """Replaces the config's data by the fields of a workload file, each labelled with the config's own key."""
    document = reader.document
    config: dict[str, Any] = document.data
    inner: Location = ()
    if isinstance(config.get("text_config"), dict) and not any(key in config for key in HIDDEN_KEYS):
        config, inner = config["text_config"], ("text_config",)
    for key in EXPERT_KEYS:
        if isinstance(config.get(key), int) and config[key] > 1:
            rule = "a mixture of experts is not supported: a token uses only some of the experts"
            document.fault((*inner, key), rule, shown(config[key]))
    fields: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "kind": "gemm",
        "name": stem,
        "source": f"Hugging Face {document.file}"[-500:],
        "verified": True,
    }
    model = _model_type(document, config, inner, overrides)

    def take(name: str, keys: tuple[str, ...], default: Any = None) -> None:
        # In a config, null stands for "the class's default", as a missing key does.
        key = next((key for key in keys if config.get(key) is not None), None)
        if key is None and default is None and name not in overrides:
            what = f"missing key '{keys[0]}' (or {', '.join(keys[1:])})" if not inner else f"missing key '{keys[0]}'"
            document.fault(inner, f"{what}: the config does not say {WANTED[name]}")
        if key is not None or default is not None:
            fields[name] = config[key] if key is not None else default
        if key is not None:
            reader.labels[(name,)] = dotted((*inner, key))
            document.marks[(name,)] = document.mark((*inner, key))

    take("hidden", HIDDEN_KEYS)
    hidden = fields.get("hidden")
    whole = isinstance(hidden, int) and not isinstance(hidden, bool)
    take("intermediate", INTERMEDIATE_KEYS, 4 * (hidden or 0) if model in PLAIN and whole else None)
    take("layers", LAYER_KEYS)
    take("activation", ACTIVATION_KEYS, DEFAULT_ACTIVATIONS.get(model, "gelu"))
    word = fields["activation"]
    if isinstance(word, str) and word in ACTIVATIONS:
        fields["activation"] = ACTIVATIONS[word]
    elif "activation" not in overrides:
        rule = f"one of {', '.join(ACTIVATIONS)} is needed"
        meant = suggest(word, ACTIVATIONS) if isinstance(word, str) else ""
        reader.fault(("activation",), rule, shown(word), meant)
    fields["gated"] = model in GATED
    fields["bias"] = config.get("mlp_bias") is True if fields["gated"] else config.get("enable_bias") is not False
    document.data = fields


def _model_type(document: Document, config: dict[str, Any], inner: Location, overrides: Mapping[str, Any]) -> str:
    """The model type, or '' where the file does not say a known one (a fault unless `gated` is given)."""
    known = GATED + PLAIN
    model = config.get("model_type")
    where: Location = (*inner, "model_type")
    if model is None and isinstance(config.get("architectures"), list) and config["architectures"]:
        where = (*inner, "architectures")
        architecture = str(config["architectures"][0])
        folded = architecture.lower()
        names = [name for name in known if folded.startswith(name.replace("_", "").replace("-", ""))]
        model = max(names, key=len) if names and "moe" not in folded else architecture
    if isinstance(model, str) and model in known:
        return model
    if "gated" not in overrides:
        rule = f"tells whether the FFN is gated and must be one of {', '.join(known)}; for another model set 'gated'"
        if model is None:
            document.fault(inner, f"missing key 'model_type': it {rule}")
        else:
            document.fault(where, rule, shown(model), suggest(model, known) if isinstance(model, str) else "")
    return ""
