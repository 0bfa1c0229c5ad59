"""Predictions do not depend on the host, and a change of the model shows up as a changed file."""

from __future__ import annotations

import json

import pytest

from tests.golden import FILE, predictions


def test_predictions_are_the_recorded_ones() -> None:
    recorded = json.loads(FILE.read_text())
    assert predictions() == pytest.approx(recorded, rel=1e-9, abs=0.0)
