"""Recorded hosts, replayed: the model as it is now against what was measured, on any machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.validationdocs import DATA, RECORDED
from validate import errors
from validate.check import check
from validate.journal import read

CAMPAIGNS = sorted(RECORDED.glob("*/*.jsonl"))
ROOM = 0.015
"""By which the mean of a campaign may grow before a change of the model is one for the worse."""


@pytest.mark.parametrize("path", CAMPAIGNS[:2], ids=lambda path: path.stem)
def test_errors_on_recorded_hosts_do_not_grow(path: Path) -> None:
    stored = json.loads(DATA.read_text())
    seed = read(path)[0]["seed"]
    known = next(c for c in stored["campaigns"] if c["seed"] == seed)
    found = check(read(path), again=True)
    now = errors.of(found.results)
    assert now["points"] == known["points"] >= 80
    assert now["mean_abs_error"] < known["mean_abs_error"] + ROOM
    assert errors.of(errors.whole(found.results))["mean_abs_error"] < known["whole_ffn"]["mean_abs_error"] + ROOM
    assert now["p95_abs_error"] < known["p95_abs_error"] + 4 * ROOM
    assert 0.8 < now["interval_coverage"] <= 1.0


def test_predictions_were_frozen_before_anything_held_out_was_measured() -> None:
    for path in CAMPAIGNS:
        lines = read(path)
        kinds = [line["record"] for line in lines]
        assert kinds.index("predicted") < kinds.index("round")
        assert kinds[-1] == "end"
        frozen = next(line for line in lines if line["record"] == "predicted")
        first_round = lines[kinds.index("round")]
        assert frozen["line"] < first_round["line"]
        assert len(frozen["points"]) >= 80


def test_a_campaign_is_held_to_its_frozen_predictions_by_any_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from validate import check as checks

    monkeypatch.setattr(checks, "calibrated", None)  # nothing is computed
    lines = read(CAMPAIGNS[0])
    given = {p["seconds"] for line in lines if line["record"] == "predicted" for p in line["points"]}
    lines = [{**line, "model": "another"} if "model" in line else line for line in lines]
    found = check(lines)
    assert found.frozen
    assert {r.predicted_seconds for r in found.results} <= given
    assert checks.record(found)["model"] == "another"


def test_stored_statistics_are_those_of_the_points() -> None:
    stored = json.loads(DATA.read_text())
    sizes = np.abs([p["predicted_seconds"] / p["measured_seconds"] - 1.0 for p in stored["points"]])
    assert stored["errors"]["mean_abs_error"] == pytest.approx(sizes.mean(), abs=1e-6)
    assert stored["errors"]["p95_abs_error"] == pytest.approx(np.quantile(sizes, 0.95), abs=1e-6)
    covered = [
        p["interval_low_seconds"] <= p["measured_seconds"] <= p["interval_high_seconds"] for p in stored["points"]
    ]
    assert stored["interval_coverage"]["share"] == pytest.approx(np.mean(covered))
    assert 0.85 <= np.mean(covered) <= 0.95
    assert len(stored["points"]) >= 400


def test_held_out_layers_are_no_calibration_layers() -> None:
    for path in CAMPAIGNS:
        lines = read(path)
        shapes = {
            (g["point"]["hidden"], g["point"]["intermediate"])
            for line in lines
            if line["record"] == "pass"
            for g in line["gemm"]
        }
        held = [p for line in lines if line["record"] == "group" for p in line["points"] if p["operator"] == "gemm_ffn"]
        assert held
        assert all((p["hidden"], p["intermediate"]) not in shapes for p in held)
