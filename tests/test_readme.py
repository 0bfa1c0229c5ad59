"""README.md shows what the program really prints, and the accuracy that it really has."""

from __future__ import annotations

from tests.accuracy import errors, points
from tests.readme import CONSOLE, GENERATED, README, refreshed


def test_examples_and_figures_are_what_is_printed() -> None:
    text = README.read_text()
    assert len(CONSOLE.findall(text)) >= 2
    assert len(GENERATED.findall(text)) == 2
    assert refreshed(text) == text


def test_uncalibrated_accuracy_is_no_worse_than_stated() -> None:
    found = points()
    assert len(found) == 70
    assert errors([p for p in found if p.form == "gemm"])["mean"] < 0.08
    assert errors([p for p in found if p.form == "lookup"])["mean"] < 0.30
    assert errors(found)["worst"] < 0.65
