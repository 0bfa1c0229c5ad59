"""The machine schema as a table: what the annotations of `simulator.machine` say about each field of a spec file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from simulator.machine import Unit


@dataclass(frozen=True)
class Entry:
    """One field of the schema: its file key, dimension, type, whether a file must give it and whether it may be null."""

    name: str
    key: str
    unit: Unit | None
    kind: Any
    required: bool
    nullable: bool


def schema(kind: type) -> dict[str, Entry]:
    """File key -> Entry of one dataclass of the machine schema."""
    found = _SCHEMAS.get(kind)
    if found is None:
        hints = get_type_hints(kind, include_extras=True)
        entries = [_entry(f, hints[f.name]) for f in fields(kind) if f.name not in ("provenance", "id")]
        found = _SCHEMAS[kind] = {entry.key: entry for entry in entries}
    return found


_SCHEMAS: dict[type, dict[str, Entry]] = {}


def _entry(field: Any, hint: Any) -> Entry:
    key, unit, kind, nullable = field.name, None, hint, False
    for part in _annotations(hint):
        if isinstance(part, Unit):
            unit = part
        elif getattr(part, "alias", None):
            key = part.alias
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif type(None) in get_args(kind):
            nullable = True
            kind = next(a for a in get_args(kind) if a is not type(None))
        else:
            break
    required = field.default is MISSING and field.default_factory is MISSING
    return Entry(field.name, key, unit, kind, required, nullable)


def _annotations(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        yield from _annotations(inner)
        yield from metadata
    elif type(None) in get_args(hint):
        for part in get_args(hint):
            yield from _annotations(part)
