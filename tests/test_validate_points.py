"""Held-out points: records, draws by seed, the model's and the kernels' views of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels.library import runnable
from simulator.specfile import load_machine
from validate.calls import Calls, draw_codes, nest_of, plan_of, sets_of
from validate.draw import Amount, Draw, held_out
from validate.expected import lookup_schedule, phases_of, predicted, resources_of
from validate.points import Nest, Point, PointError, point_of, record_of

needs_kernels = pytest.mark.skipif(not runnable("gather") or not runnable("timer"), reason="no kernel runs here")
GATHER = Point(
    "gather",
    batch=40,
    threads=1,
    tables=16,
    rows=64,
    columns=128,
    stripe=64,
    table_dtype="fp32",
    nest=Nest(48, 96, 8, 0, 0, 0),
)


def points(seed: int = 3) -> list[Point]:
    return [point for group in held_out(seed, (1, 2), Amount(3, 2, 0, 0, 16)) for point in group]


def test_records_lead_back_to_their_points() -> None:
    for point in points():
        assert point_of(record_of(point)) == point
    assert "skew" not in record_of(GATHER)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operator": "sort"}, "operator: one of bh4, code_score, gather, lookup_ffn, gemm_ffn, got 'sort'"),
        ({"batch": 0}, "batch, threads: at least 1"),
        ({"batch": "8"}, "batch: must be int, got '8'"),
        ({"threads": True}, "threads: must be int, got True"),
        ({"skew": "1"}, "skew: must be float, got '1'"),
        ({"colour": 1}, "colour: no field of a point"),
        (
            {"nest": {"token_tile": 1}},
            "nest: whole numbers bulk, near_tokens, project_tile, split, table_group, token_tile",
        ),
    ],
)
def test_what_is_no_point_is_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PointError) as caught:
        point_of(record_of(GATHER) | change)
    assert str(caught.value) == message


def test_a_missing_field_is_said() -> None:
    record = record_of(GATHER)
    del record["batch"]
    with pytest.raises(PointError, match="batch: missing"):
        point_of(record)
    with pytest.raises(PointError, match="a point is an object"):
        point_of([])


def test_a_seed_gives_its_points_and_no_others() -> None:
    assert points(3) == points(3)
    assert not set(points(3)) & set(points(4))
    kinds = [p.operator for p in points()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "lookup_ffn": 6, "gemm_ffn": 6, "gather": 8, "bh4": 4, "code_score": 4,
    }  # fmt: skip


def test_both_forms_of_a_pair_run_under_the_same_conditions() -> None:
    pair = list(Draw(11, (1, 2)).pair(3))
    assert len({(p.batch, p.threads, p.residency, p.layers, p.hidden) for p in pair}) == 1
    assert len({p.label for p in pair}) == 6


def test_draws_cover_their_ranges() -> None:
    drawn = [Draw(seed, (1, 2)).gather() for seed in range(200)]
    assert {p.page for p in drawn} == {"2MiB", "4KiB"}
    assert {p.threads for p in drawn} == {1, 2}
    assert {p.residency for p in drawn} == {"hot", "model"}
    assert {p.skew for p in drawn} == {0.0, 0.8, 1.2}
    assert min(p.batch for p in drawn) <= 3
    assert max(p.batch for p in drawn) > 1500
    assert all(p.tables * p.rows * p.columns <= 1 << 24 for p in drawn)
    assert {p.nest.split for p in drawn if p.nest} == {0, 1, 2}


def test_the_model_times_every_point() -> None:
    cpu = load_machine("amd-epyc-9755")
    for point in points(5):
        found = predicted(point, cpu)
        assert all(np.isfinite(s) and s >= 0.0 for s in found.values()), point.label
        assert sum(found.values()) > 0.0, point.label


def test_a_stage_alone_is_a_part_of_the_layer() -> None:
    ffn = next(p for p in points(3) if p.operator == "lookup_ffn")
    r = resources_of(load_machine("amd-epyc-9755"), ffn.threads)
    whole = [phase.name for phase in phases_of(ffn, r)]
    for operator in ("bh4", "code_score", "gather"):
        parts = [phase.name for phase in phases_of(replace(ffn, operator=operator), r)]  # type: ignore[arg-type]
        assert set(parts) < set(whole)


@pytest.mark.parametrize(
    ("nest", "ahead", "bulk"),
    [
        (Nest(48, 96, 8, 0, 0, 0), 0.0, 0.0),
        (Nest(48, 96, 8, 1, 0, 0), 8 * 256.0, 0.0),  # the next token's rows of the group
        (Nest(48, 96, 8, 0, 1, 0), 40 * 8 * 256.0, 0.0),  # all tokens of the tile come in between
        (Nest(48, 96, 16, 0, 1, 0), 0.0, 0.0),  # there is no next group
        (Nest(48, 96, 8, 0, 2, 0), 0.0, 1.0),
    ],
)
def test_loop_nests_in_the_models_words(nest: Nest, ahead: float, bulk: float) -> None:
    schedule = lookup_schedule(replace(GATHER, nest=nest))
    assert (schedule.prefetch_bytes, schedule.bulk) == (ahead, bulk)
    assert nest_of(plan_of(nest)) == nest


def test_inputs_are_fresh_but_bounded() -> None:
    assert sets_of(GATHER, 32) * GATHER.batch >= 1024
    assert sets_of(replace(GATHER, batch=1), 32) == 256
    assert sets_of(replace(GATHER, batch=100_000), 4096) == 1


def test_codes_follow_the_law_and_stay_in_the_table() -> None:
    plain = draw_codes(replace(GATHER, batch=4000), 16, 1, 0, 0)
    steep = draw_codes(replace(GATHER, batch=4000, skew=1.2), 16, 1, 0, 0)
    assert plain.max() == steep.max() == 63
    counts = [np.sort(np.bincount(codes[:, 0], minlength=64)) for codes in (plain, steep)]
    assert counts[0][-1] < 150 < 800 < counts[1][-1]
    assert not draw_codes(replace(GATHER, tables=14), 16, 1, 0, 0)[:, 14:].any()


@needs_kernels
def test_calls_run_every_operator() -> None:
    calls = Calls((0,))
    small = [
        GATHER,
        replace(GATHER, residency="model", layers=2, table_dtype="int8", skew=0.8, page="4KiB"),
        Point("bh4", batch=4, threads=1, hidden=64, tables=8, rows=16, projection_dtype="int8"),
        Point("code_score", batch=4, threads=1, hidden=64, tables=8, rows=16, projection_dtype="fp32"),
        Point(
            "lookup_ffn", batch=4, threads=1, hidden=64, tables=8, rows=16, columns=64, stripe=64, projection_dtype="bf16",
            table_dtype="bf16", nest=Nest(48, 96, 8, 0, 0, 0),
        ),
    ]  # fmt: skip
    for point in small:
        series = calls.of(point)
        assert len(series.calls) % point.layers == 0
        assert series.seconds() > 0.0
    calls.forget()
    assert not calls._layers
