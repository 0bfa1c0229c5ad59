"""Units: every one of them, what is refused and how, and exact round trips."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.units import UNITS, Dimension, UnitError, format_quantity, parse

EXACT = {
    Dimension.SIZE: {"1 B": 1.0, "3 kB": 3000.0, "2 MB": 2e6, "1.5 GB": 1.5e9, "1 TB": 1e12, "48 KiB": 49152.0,
                     "2 MiB": 2097152.0, "1 GiB": 1073741824.0, "1 TiB": 1099511627776.0},
    Dimension.BITS: {"512 bit": 512.0},
    Dimension.TIME: {"1 s": 1.0, "5 ms": 0.005, "7 us": 7e-6, "33 ns": 33e-9, "250 ps": 250e-12},
    Dimension.CYCLES: {"14 cycles": 14.0, "1 cycle": 1.0},
    Dimension.FREQUENCY: {"50 Hz": 50.0, "1 kHz": 1e3, "100 MHz": 1e8, "3.2 GHz": 3.2e9, "1 THz": 1e12},
    Dimension.BANDWIDTH: {"8 B/s": 8.0, "1 kB/s": 1e3, "1 MB/s": 1e6, "38.4 GB/s": 38.4e9, "1.2 TB/s": 1.2e12,
                          "1 KiB/s": 1024.0, "1 MiB/s": 2.0**20, "1 GiB/s": 2.0**30, "1 TiB/s": 2.0**40},
    Dimension.BYTES_PER_CYCLE: {"64 B/cycle": 64.0},
    Dimension.TRANSFERS: {"1 T/s": 1.0, "1 kT/s": 1e3, "4800 MT/s": 4.8e9, "6.4 GT/s": 6.4e9, "1 TT/s": 1e12},
    Dimension.POWER: {"205 W": 205.0, "5 mW": 0.005, "1 kW": 1e3},
    Dimension.COUNT: {"8": 8.0, "2.5": 2.5, "1e3": 1000.0, ".5": 0.5},
    Dimension.FRACTION: {"50 %": 0.5, "0.5": 0.5, "12.5 %": 0.125},
}  # fmt: skip
"""Texts and base units, written out by hand."""

CASES = [(dimension, text, value) for dimension, texts in EXACT.items() for text, value in texts.items()]


@pytest.mark.parametrize(("dimension", "text", "value"), CASES)
def test_every_unit(dimension: Dimension, text: str, value: float) -> None:
    assert parse(text, dimension) == pytest.approx(value, rel=1e-15)
    assert parse(f"  {text.replace(' ', '')} ", dimension) == parse(text, dimension)


def test_no_unit_is_missing_from_the_table_above() -> None:
    assert {text.split()[-1] for _, text, _ in CASES if " " in text} == set(UNITS)


@pytest.mark.parametrize(("dimension", "text"), [(d, t) for d, t, _ in CASES if " " in t])
def test_a_unit_passes_for_one_dimension_only(dimension: Dimension, text: str) -> None:
    for other in set(Dimension) - {dimension}:
        with pytest.raises(UnitError, match="is needed here"):
            parse(text, other)


BAD: list[tuple[Dimension, object, str]] = [
    (Dimension.SIZE, "48 KB", "unknown unit 'KB': write KiB (1024) or kB (1000)"),
    (Dimension.BANDWIDTH, "48 KB/s", "unknown unit 'KB/s': write KiB/s (1024) or kB/s (1000)"),
    (Dimension.SIZE, "48 kib", "unknown unit 'kib' (did you mean KiB?)"),
    (Dimension.FREQUENCY, "3 ghz", "unknown unit 'ghz' (did you mean GHz?)"),
    (Dimension.TIME, "3 parsec", "unknown unit 'parsec'"),
    (Dimension.SIZE, "48", "a size needs a unit, e.g. '32 KiB', got 48"),
    (Dimension.SIZE, 48, "a size needs a unit, e.g. '32 KiB', got 48"),
    (Dimension.SIZE, "2 MHz", "'2 MHz' is a frequency, but a size is needed here"),
    (Dimension.TIME, "-3 ns", "a time cannot be negative, got -3 ns"),
    (Dimension.COUNT, math.nan, "a finite number is needed here, got nan"),
    (Dimension.COUNT, math.inf, "a finite number is needed here, got inf"),
    (Dimension.COUNT, "1e400", "a finite number is needed here, got 1e400"),
    (Dimension.COUNT, 10**400, "the number is too large"),
    (Dimension.SIZE, "1e308 TiB", "a finite number is needed here, got 1e308 TiB"),
    (Dimension.COUNT, None, "a number is needed here, got nothing"),
    (Dimension.COUNT, True, "a number is needed here, got true"),
    (Dimension.COUNT, [1], "a number is needed here, got a list"),
    (Dimension.SIZE, {}, "a size is needed here, got a mapping"),
    (Dimension.SIZE, "many", "a size is needed here, e.g. '32 KiB', got 'many'"),
    (Dimension.SIZE, "", "a size is needed here, e.g. '32 KiB', got ''"),
    (Dimension.COUNT, "\u0663", "a number is needed here, got '\u0663'"),
    (Dimension.COUNT, "1 2", "unknown unit '2'"),
]


@pytest.mark.parametrize(("dimension", "text", "message"), BAD)
def test_what_is_refused(dimension: Dimension, text: object, message: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse(text, dimension)
    assert str(caught.value) == message


def test_negative_numbers_where_they_are_allowed() -> None:
    assert parse("-3 ns", Dimension.TIME, allow_negative=True) == -3e-9


@given(st.sampled_from(list(Dimension)), st.floats(0.0, 1e300, allow_subnormal=False))
def test_formatted_numbers_come_back_exactly(dimension: Dimension, value: float) -> None:
    assert parse(format_quantity(value, dimension), dimension) == value


def test_numbers_are_written_as_people_write_them() -> None:
    assert format_quantity(49152.0, Dimension.SIZE) == "48 KiB"
    assert format_quantity(3.2e9, Dimension.FREQUENCY) == "3.2 GHz"
    assert format_quantity(33e-9, Dimension.TIME) == "33 ns"
    assert format_quantity(4.8e9, Dimension.TRANSFERS) == "4800 MT/s"


@pytest.mark.parametrize(
    "text", ["1" * 100_000, "1x" + " " * 100_000 + "x", " " * 100_000 + "1", "1" + "." * 100_000, "e" * 100_000]
)
def test_long_junk_is_refused_quickly(text: str) -> None:
    start = time.perf_counter()
    try:
        parse(text, Dimension.SIZE)
    except UnitError:
        assert time.perf_counter() - start < 2.0
    else:
        pytest.fail("was read as a size")
