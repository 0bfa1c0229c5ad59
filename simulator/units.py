"""Text with units into base units and back; the only prefix table of the project.

Base units: bytes, bytes per second, bytes per cycle, hertz, seconds, cycles, transfers per second, watts, bits; counts and
fractions have none. A quantity is always parsed for a dimension, so that "2 MHz" can never pass for a size.
"""

from __future__ import annotations

import difflib
import math
import re
from enum import Enum


class UnitError(ValueError):
    """A text that is no quantity of the wanted dimension; the message says why and what would be."""


class Dimension(Enum):
    """What a number measures; the value is its name in messages."""

    COUNT = "number"
    FRACTION = "fraction"
    SIZE = "size"
    BITS = "width in bits"
    TIME = "time"
    CYCLES = "number of cycles"
    FREQUENCY = "frequency"
    BANDWIDTH = "bandwidth"
    BYTES_PER_CYCLE = "rate in bytes per cycle"
    TRANSFERS = "transfer rate"
    POWER = "power"


_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_SMALL = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0}


def _table() -> dict[str, tuple[Dimension, float]]:
    units: dict[str, tuple[Dimension, float]] = {
        "cycles": (Dimension.CYCLES, 1.0),
        "cycle": (Dimension.CYCLES, 1.0),
        "bit": (Dimension.BITS, 1.0),
        "B/cycle": (Dimension.BYTES_PER_CYCLE, 1.0),
        "%": (Dimension.FRACTION, 0.01),
    }
    for prefix, factor in {**_DECIMAL, **_BINARY}.items():
        units[f"{prefix}B"] = (Dimension.SIZE, factor)
        units[f"{prefix}B/s"] = (Dimension.BANDWIDTH, factor)
    for prefix, factor in _DECIMAL.items():
        units[f"{prefix}Hz"] = (Dimension.FREQUENCY, factor)
        units[f"{prefix}T/s"] = (Dimension.TRANSFERS, factor)
    for prefix, factor in _SMALL.items():
        units[f"{prefix}s"] = (Dimension.TIME, factor)
    for prefix, factor in {"m": 1e-3, "": 1.0, "k": 1e3}.items():
        units[f"{prefix}W"] = (Dimension.POWER, factor)
    return units


UNITS = _table()
"""Unit text -> (dimension, factor to the base unit)."""

_EXAMPLES = {
    Dimension.SIZE: "32 KiB",
    Dimension.BITS: "512 bit",
    Dimension.TIME: "90 ns",
    Dimension.CYCLES: "14 cycles",
    Dimension.FREQUENCY: "3.2 GHz",
    Dimension.BANDWIDTH: "38.4 GB/s",
    Dimension.BYTES_PER_CYCLE: "64 B/cycle",
    Dimension.TRANSFERS: "4800 MT/s",
    Dimension.POWER: "205 W",
}
_BARE = (Dimension.COUNT, Dimension.FRACTION)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _needed(dimension: Dimension) -> str:
    return f"{_article(dimension.value)} is needed here"


def _unknown_unit(unit: str) -> str:
    if unit in ("KB", "Kb", "KB/s"):
        tail = unit[2:]
        return f"unknown unit '{unit}': write KiB{tail} (1024) or kB{tail} (1000)"
    near = next((name for name in UNITS if name.lower() == unit.lower()), None)
    if near is None:
        close = difflib.get_close_matches(unit, UNITS, n=1, cutoff=0.6)
        near = close[0] if close else None
    return f"unknown unit '{unit}'" + (f" (did you mean {near}?)" if near else "")


def parse(text: object, dimension: Dimension, *, allow_negative: bool = False) -> float:
    """`text` as a number of base units of `dimension`.

    Bare numbers are counts and fractions only. Raises UnitError with the rule that was broken.
    """
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise UnitError(f"{_needed(dimension)}, got {_kind(text)}")
    if isinstance(text, (int, float)):
        try:
            value, unit = float(text), ""
        except OverflowError:
            raise UnitError("the number is too large") from None
    else:
        stripped = text.strip()
        match = _NUMBER.match(stripped)
        if match is None:
            example = _EXAMPLES.get(dimension)
            raise UnitError(f"{_needed(dimension)}" + (f", e.g. '{example}'" if example else "") + f", got '{text}'")
        value, unit = float(match[0]), stripped[match.end() :].lstrip()
    factor = 1.0
    if unit:
        if unit not in UNITS:
            raise UnitError(_unknown_unit(unit))
        found, factor = UNITS[unit]
        if found is not dimension:
            raise UnitError(f"'{text}' is {_article(found.value)}, but {_article(dimension.value)} is needed here")
    elif dimension not in _BARE:
        raise UnitError(f"{_article(dimension.value)} needs a unit, e.g. '{_EXAMPLES[dimension]}', got {text}")
    result = value * factor
    if unit and factor < 1.0:
        result = value / round(1.0 / factor)  # 33 ns = 33 / 1e9 exactly rounded; 33 * 1e-9 is not
    if not math.isfinite(result):
        raise UnitError(f"a finite number is needed here, got {text}")
    if result < 0.0 and not allow_negative:
        raise UnitError(f"{_article(dimension.value)} cannot be negative, got {text}")
    return result


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)


_PRETTY = {
    Dimension.SIZE: ("TiB", "GiB", "MiB", "KiB", "B"),
    Dimension.BITS: ("bit",),
    Dimension.TIME: ("s", "ms", "us", "ns", "ps"),
    Dimension.CYCLES: ("cycles",),
    Dimension.FREQUENCY: ("GHz", "MHz", "kHz", "Hz"),
    Dimension.BANDWIDTH: ("TB/s", "GB/s", "MB/s", "kB/s", "B/s"),
    Dimension.BYTES_PER_CYCLE: ("B/cycle",),
    Dimension.TRANSFERS: ("MT/s", "kT/s", "T/s"),
    Dimension.POWER: ("W",),
    Dimension.COUNT: ("",),
    Dimension.FRACTION: ("",),
}


def format_quantity(value: float, dimension: Dimension) -> str:
    """Text that `parse` turns back into exactly `value`: the shortest of the units in which it is exact."""
    texts = []
    for unit in _PRETTY[dimension]:
        factor = UNITS[unit][1] if unit else 1.0
        scaled = value / factor if factor >= 1.0 else value * round(1.0 / factor)
        number = f"{scaled:.12g}"
        for candidate in (number, repr(scaled)):
            text = f"{candidate} {unit}".rstrip()
            if math.isfinite(float(candidate) * factor) and parse(text, dimension, allow_negative=True) == value:
                texts.append(text.replace("e+", "e"))
                break
    base = _PRETTY[dimension][-1]
    if not texts and base and UNITS[base][1] == 1.0:
        texts.append(f"{value!r} {base}")
    if not texts:
        texts.append(f"{value!r} s" if dimension is Dimension.TIME else repr(value))
    return min(texts, key=_length)


def _length(text: str) -> tuple[int, int]:
    mantissa = text.split()[0]
    return (len(text), 0 if "." not in mantissa and "e" not in mantissa else 1)
