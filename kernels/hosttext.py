"""Spec values with provenance, and how they are written as YAML text."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from simulator.units import Dimension, format_quantity

Leaf = dict[str, object]


def bare_values(section: dict[str, Any]) -> dict[str, Any]:
    """A section's values without provenance."""
    bare: dict[str, Any] = {}
    for key, item in section.items():
        if isinstance(item, dict):
            bare[key] = item["value"] if "value" in item else bare_values(item)
        elif key not in ("provenance", "source"):
            bare[key] = item
    return bare


def merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: sections merge, values replace."""
    merged = dict(under)
    for key, item in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(item, dict) and "value" not in item
        merged[key] = merge(below or {}, item) if both else item
    return merged


def measured(value: object, source: str, note: str = "") -> Leaf:
    """A value that was read from the host."""
    return {"value": value, "provenance": "measured", "source": source} | ({"note": note} if note else {})


def estimated(value: object, source: str, note: str = "") -> Leaf:
    """A value that was not, with the reason as source."""
    return {"value": value, "provenance": "estimated", "source": source} | ({"note": note} if note else {})


def hertz_text(value: float) -> str:
    """A frequency rounded to 1 MHz."""
    return format_quantity(round(value / 1e6) * 1e6, Dimension.FREQUENCY)


def plain_number(value: float) -> float | int:
    """Whole numbers without a decimal point."""
    return int(value) if float(value).is_integer() else value


def comment_lines(line: str) -> str:
    """`line` as YAML comment lines of at most 110 columns."""
    if not line:
        return "#\n"
    indent = "  " if line.startswith("- ") else ""
    return "".join(f"# {part}\n" for part in textwrap.wrap(line, 108, subsequent_indent=indent, break_long_words=False))


def yaml_lines(section: Mapping[str, object], indent: str = "") -> Iterable[str]:
    """A section as lines of YAML."""
    for key, value in section.items():
        if not isinstance(value, dict):
            yield from _text_lines(f"{indent}{key}: ", value)
        elif not value:
            continue
        elif len(flow := f"{indent}{key}: {_flow(value)}\n") <= 120 and not any(
            isinstance(v, dict) for v in value.values()
        ):
            yield flow
        else:
            yield f"{indent}{key}:\n"
            yield from yaml_lines(value, indent + "  ")


def _text_lines(start: str, value: object) -> Iterable[str]:
    """`start` and a scalar; long quoted text goes on in indented lines, which YAML joins with a space."""
    indent = " " * (len(start) - len(start.lstrip()) + 2)
    text = start + _flow(value)
    yield "\n".join(textwrap.wrap(text, 116, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))
    yield "\n"


def _flow(value: object) -> str:
    """A value in YAML flow style; text that is no plain word or quantity is quoted as in JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    text = " ".join(value.split())
    return text if re.fullmatch(r"[A-Za-z][\w-]*|\d+(\.\d+)? [A-Za-z]+(/[a-z]+)?", text) else json.dumps(text)
