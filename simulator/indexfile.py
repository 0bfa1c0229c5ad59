"""Index distributions of a workload: uniform, Zipf, or a histogram listed in the file or beside it."""

from __future__ import annotations

import math
from typing import Any

from simulator.workload import (
    IndexDistribution,
)
from simulator.workloadreader import Reader
from simulator.yamlfile import Fault, Location, dotted, shown, suggest

MAX_ROWS = 1 << 24
MAX_LISTED_ROWS = 1 << 20
"""Rows of a table whose distribution is written out row by row (Zipf, histogram)."""

MAX_HISTOGRAM_BYTES = 32 << 20


def read_indices(reader: Reader, location: Location, value: Any) -> IndexDistribution | None:
    """The value of `indices`: a word or a mapping with its kind; None after a fault."""
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


def _histogram(reader: Reader, location: Location, value: Any) -> tuple[float, ...] | None:
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


def _histogram_file(reader: Reader, location: Location, name: str) -> tuple[float, ...] | None:
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


def _normalised(reader: Reader, location: Location, shares: list[float]) -> tuple[float, ...] | None:
    total = math.fsum(shares)
    if not 0.0 < total < math.inf:
        reader.fault(location, "at least one share must be above 0")
        return None
    return tuple(share / total for share in shares)
