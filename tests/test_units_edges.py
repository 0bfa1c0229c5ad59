"""Units at the edges: every factor exactly, look-alike units, every float there and back, time linear in the text."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.units import UNITS, Dimension, UnitError, format_quantity, parse

THREE: dict[Dimension, dict[str, float]] = {
    Dimension.SIZE: {
        "B": 3, "kB": 3_000, "MB": 3_000_000, "GB": 3_000_000_000, "TB": 3_000_000_000_000,
        "KiB": 3_072, "MiB": 3_145_728, "GiB": 3_221_225_472, "TiB": 3_298_534_883_328,
    },
    Dimension.BANDWIDTH: {
        "B/s": 3, "kB/s": 3_000, "MB/s": 3_000_000, "GB/s": 3_000_000_000, "TB/s": 3_000_000_000_000,
        "KiB/s": 3_072, "MiB/s": 3_145_728, "GiB/s": 3_221_225_472, "TiB/s": 3_298_534_883_328,
    },
    Dimension.FREQUENCY: {"Hz": 3, "kHz": 3e3, "MHz": 3e6, "GHz": 3e9, "THz": 3e12},
    Dimension.TRANSFERS: {"T/s": 3, "kT/s": 3e3, "MT/s": 3e6, "GT/s": 3e9, "TT/s": 3e12},
    Dimension.TIME: {"s": 3, "ms": 0.003, "us": 0.000003, "ns": 0.000000003, "ps": 0.000000000003},
    Dimension.POWER: {"mW": 0.003, "W": 3, "kW": 3_000},
    Dimension.CYCLES: {"cycle": 3, "cycles": 3},
    Dimension.BITS: {"bit": 3},
    Dimension.BYTES_PER_CYCLE: {"B/cycle": 3},
    Dimension.FRACTION: {"%": 0.03},
}  # fmt: skip
"""What 3 of each unit is, as the float nearest to the decimal number."""

ROWS = [(dimension, unit, float(value)) for dimension, table in THREE.items() for unit, value in table.items()]


@pytest.mark.parametrize(("dimension", "unit", "value"), ROWS)
def test_three_of_each_unit_is_exact(dimension: Dimension, unit: str, value: float) -> None:
    assert parse(f"3 {unit}", dimension) == value
    assert parse(f"+3.0{unit}", dimension) == value
    assert parse(f"\n 30e-1\t\u00a0{unit} ", dimension) == value
    assert parse(f"-3 {unit}", dimension, allow_negative=True) == -value


def test_the_table_has_every_unit_and_every_dimension_with_units() -> None:
    assert sorted(unit for _, unit, _ in ROWS) == sorted(UNITS)
    assert set(THREE) == set(Dimension) - {Dimension.COUNT}


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_a_unit_in_another_case_is_refused_and_the_right_one_named(unit: str) -> None:
    for wrong in {unit.lower(), unit.upper(), unit.swapcase()} - set(UNITS) - {"KB", "Kb", "KB/s"}:
        with pytest.raises(UnitError) as caught:
            parse(f"3 {wrong}", UNITS[unit][0])
        start, _, meant = str(caught.value).partition(" (did you mean ")
        assert start == f"unknown unit '{wrong}'"
        assert meant.removesuffix("?)") in UNITS
        assert meant.removesuffix("?)").lower() == unit.lower()


REFUSED: list[tuple[Dimension, object, str]] = [
    (Dimension.SIZE, "48 Kb", "unknown unit 'Kb': write KiB (1024) or kB (1000)"),
    (Dimension.SIZE, "48KB", "unknown unit 'KB': write KiB (1024) or kB (1000)"),
    (Dimension.FREQUENCY, "3 KB", "unknown unit 'KB': write KiB (1024) or kB (1000)"),
    (Dimension.SIZE, "3 Ki B", "unknown unit 'Ki B' (did you mean KiB?)"),
    (Dimension.SIZE, "1_000 B", "unknown unit '_000 B'"),
    (Dimension.SIZE, "- 3 B", "a size is needed here, e.g. '32 KiB', got '- 3 B'"),
    (Dimension.SIZE, "3 B 4", "unknown unit 'B 4'"),
    (Dimension.SIZE, "B", "a size is needed here, e.g. '32 KiB', got 'B'"),
    (Dimension.SIZE, "nan B", "a size is needed here, e.g. '32 KiB', got 'nan B'"),
    (Dimension.SIZE, "inf B", "a size is needed here, e.g. '32 KiB', got 'inf B'"),
    (Dimension.COUNT, "nan", "a number is needed here, got 'nan'"),
    (Dimension.COUNT, "-inf", "a number is needed here, got '-inf'"),
    (Dimension.COUNT, -math.inf, "a finite number is needed here, got -inf"),
    (Dimension.COUNT, -5e-324, "a number cannot be negative, got -5e-324"),
    (Dimension.FRACTION, "-1 %", "a fraction cannot be negative, got -1 %"),
    (Dimension.COUNT, -(10**400), "the number is too large"),
    (Dimension.TIME, "1e999 ps", "a finite number is needed here, got 1e999 ps"),
    (Dimension.COUNT, "0x10", "unknown unit 'x10'"),
    (Dimension.COUNT, False, "a number is needed here, got false"),
    (Dimension.TIME, 3, "a time needs a unit, e.g. '90 ns', got 3"),
    (Dimension.TIME, b"3 ns", "a time is needed here, got b'3 ns'"),
    (Dimension.BYTES_PER_CYCLE, "3 B/s", "'3 B/s' is a bandwidth, but a rate in bytes per cycle is needed here"),
    (Dimension.COUNT, "3 %", "'3 %' is a fraction, but a number is needed here"),
]


@pytest.mark.parametrize(("dimension", "text", "message"), REFUSED)
def test_messages_of_what_is_refused(dimension: Dimension, text: object, message: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse(text, dimension)
    assert str(caught.value) == message


def test_numbers_too_small_for_a_float_are_zero() -> None:
    assert parse("1e-999 TiB", Dimension.SIZE) == 0.0


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(Dimension)), st.floats(allow_nan=False, allow_infinity=False))
@example(Dimension.FREQUENCY, 1.7976931348623157e308)
@example(Dimension.SIZE, -1.7976931348623155e308)
@example(Dimension.TIME, 5e-324)
@example(Dimension.TIME, -0.0)
def test_every_finite_float_comes_back_exactly(dimension: Dimension, value: float) -> None:
    again = parse(format_quantity(value, dimension), dimension, allow_negative=True)
    assert (again, math.copysign(1.0, again)) == (value, math.copysign(1.0, value))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(Dimension)), st.text("0123456789.eE+- \tKiMGBbHzsT/%", max_size=12) | st.text(max_size=8))
def test_any_text_is_a_finite_number_or_refused(dimension: Dimension, text: str) -> None:
    try:
        value = parse(text, dimension)
    except UnitError:
        return
    assert math.isfinite(value)
    assert value >= 0.0
    assert text.strip()[0] in "+-.0123456789"


LONG = 100_000


@pytest.mark.parametrize(
    "text",
    [
        "1" * LONG + "x",
        "1." + "1" * LONG + " x",
        "1e" + "9" * LONG,
        "1" + " " * LONG + "x",
        "1 x" + " " * LONG + "x",
        " " * LONG + "x",
        "+" * LONG,
        "1 " + "x " * (LONG // 2),
        "1 " + "B/s" * (LONG // 3),
    ],
    ids=["digits", "fraction", "exponent", "spaces", "inner spaces", "leading", "signs", "pairs", "units"],
)
def test_a_hundred_kilobytes_of_junk_take_under_a_second(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(UnitError):
        parse(text, Dimension.SIZE)
    assert time.perf_counter() - start < 1.0
