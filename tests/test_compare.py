"""`python -m kernels bench --compare` on a small layer: every pair is there, ratios are of what was timed, a cut run goes on."""

from __future__ import annotations

import copy
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kernels import comparerun
from kernels.build import BuildError
from kernels.compare import GEMMS, LOOKUPS, Bench, Group, Shape, inputs
from kernels.comparetables import comparison_tables, form_name
from kernels.gemmlibrary import load_library
from kernels.library import KernelError
from kernels.plan import Plan, candidate_plans, default_plan, variant_of
from kernels.stages import gather_tile
from tests.test_kernels_cli import kernels
from tests.test_lookup_kernels import needs_kernels

SMALL = Shape(hidden=64, intermediate=96, tables=8, rows=16, layers=2)
FIELDS = (
    "batch", "threads", "mode", "variant", "projection_dtype", "table_dtype", "seconds_median", "seconds_iqr", "gemm_library",
    "gemm_dtype", "speedup", "output_error", "flipped_codes",
)  # fmt: skip


@pytest.fixture(scope="module")
def kept() -> list[dict[str, Any]]:
    """The record after each group of a small comparison."""
    try:
        for name, _ in GEMMS:
            load_library(name)
    except (BuildError, KernelError) as error:
        pytest.skip(str(error))
    records: list[dict[str, Any]] = []
    try:
        comparerun.run(
            SMALL, [3, 64], [1], quick=True, note=lambda _: None, keep=lambda r: records.append(copy.deepcopy(r))
        )
    except KernelError as error:
        pytest.skip(str(error))
    return records


@needs_kernels
def test_every_pair_of_precisions_is_a_row(kept: list[dict[str, Any]]) -> None:
    record = kept[-1]
    assert record["complete"]
    pairs = [
        (r["batch"], r["mode"], r["projection_dtype"], r["table_dtype"], r["gemm_library"], r["gemm_dtype"])
        for r in record["ratios"]
        if r["variant"] != "published"
    ]
    wanted = [
        (batch, mode, *look_up, *gemm)
        for batch, mode, look_up, gemm in itertools.product((3, 64), ("model", "hot"), LOOKUPS, GEMMS)
    ]
    assert sorted(pairs) == sorted(wanted)
    for row in record["ratios"]:
        assert set(FIELDS) <= set(row)
        assert row["speedup"] == pytest.approx(row["gemm_seconds_median"] / row["seconds_median"])
        assert 0 < row["seconds_min"] <= row["seconds_median"]


@needs_kernels
def test_published_loops_stand_in_hot_rows_of_large_batches(kept: list[dict[str, Any]]) -> None:
    found = {(r["batch"], r["mode"]) for r in kept[-1]["times"] if r["form"] == "published"}
    assert found == {(64, "hot")}


@needs_kernels
def test_errors_grow_as_precision_falls(kept: list[dict[str, Any]]) -> None:
    times = {form_name(t): t for t in kept[-1]["times"]}
    error = {name: t["output_error"] for name, t in times.items()}
    assert error["fp32/fp32"] < 1e-5 < error["fp32/int8"] < 0.1
    assert error["oneDNN fp32"] < 1e-5 < error["oneDNN bf16"] < error["oneDNN int8"] < 0.1
    assert times["fp32/fp32"]["flipped_codes"] < 1e-3 < times["int8/int8"]["flipped_codes"] < 0.3


@needs_kernels
def test_a_run_that_was_cut_off_goes_on_where_it_stood(kept: list[dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "compare.json"
    file.write_text(json.dumps(kept[1]))
    settings = comparerun.settings_of(SMALL, [3, 64], [1], True)
    before = comparerun.earlier(file, settings)
    assert not before["complete"]
    assert len(before["groups"]) == 2
    done = [(r["batch"], r["mode"], r["seconds_median"]) for r in before["ratios"]]
    whole = comparerun.run(SMALL, [3, 64], [1], quick=True, note=lambda _: None, keep=lambda _: None, before=before)
    assert whole["complete"]
    assert [(r["batch"], r["mode"], r["seconds_median"]) for r in whole["ratios"]][: len(done)] == done
    assert len(whole["ratios"]) == len(kept[-1]["ratios"])


@needs_kernels
def test_tables_show_every_form_at_80_columns(kept: list[dict[str, Any]]) -> None:
    screen = Console(width=80, file=io.StringIO())
    for table in comparison_tables(kept[-1]):
        screen.print(table)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in text.splitlines()) <= 80
    for name in ("int16/int8", "oneDNN int8", "OpenBLAS fp32", "published fp32", "flipped codes", "B=64"):
        assert name in text
    assert "…" not in text


def test_files_that_cannot_be_resumed_are_named(tmp_path: Path) -> None:
    settings = comparerun.settings_of(SMALL, [3], [1], True)
    with pytest.raises(comparerun.ResumeError, match="--resume needs --json FILE"):
        comparerun.earlier(None, settings)
    with pytest.raises(comparerun.ResumeError, match="cannot be read: No such file"):
        comparerun.earlier(tmp_path / "none.json", settings)
    file = tmp_path / "cut.json"
    file.write_text('{"ratios": [')
    with pytest.raises(comparerun.ResumeError, match="is not the JSON of a comparison"):
        comparerun.earlier(file, settings)
    file.write_text("[]")
    with pytest.raises(comparerun.ResumeError, match="is not a comparison of this version"):
        comparerun.earlier(file, settings)
    file.write_text(json.dumps({"format_version": comparerun.FORMAT_VERSION, "ratios": [], "settings": {}}))
    with pytest.raises(comparerun.ResumeError, match="was made with other settings"):
        comparerun.earlier(file, settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of memory, peak, sharing, stages and --compare"),
        (("memory", "--compare"), "give one of memory, peak, sharing, stages and --compare"),
        (("--compare", "--batches", "8,x"), "--batches: whole numbers from 1"),
        (("--compare", "--threads", "0"), "--threads: whole numbers from 1"),
        (("--compare", "--resume"), "--resume needs --json FILE"),
    ],
)
def test_bad_options_are_one_message(arguments: tuple[str, ...], message: str) -> None:
    done = kernels("bench", *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_tokens_are_fresh_until_most_rows_were_touched() -> None:
    data = inputs(Shape(), 8)
    assert data.x.shape == (128, 4, 8, 512)
    assert inputs(Shape(), 4096).x.shape[0] == 1
    order: list[int] = []
    calls = inputs(SMALL, 512).sequences("model", lambda layer, x, y: lambda: order.append(layer))
    assert len(calls) == 2
    calls[0]()
    assert order == [0, 1]
    calls = inputs(SMALL, 512).sequences("hot", lambda layer, x, y: lambda: order.append(layer))
    calls[1]()
    assert order == [0, 1, 0, 0]


def test_candidate_plans_begin_with_the_default_and_have_names() -> None:
    for batch, threads in itertools.product((1, 8, 64, 512, 4096), (1, 2)):
        plans = candidate_plans(batch, 128, threads)
        assert plans[0] == default_plan(batch, 128, threads)
        assert len(plans) == len(set(plans)) <= 64
        assert {variant_of(p, batch) for p in plans} <= {"v1", "v2", "v3", "v4", "v5"}
    assert variant_of(Plan(6, 6, 8, 0), 1) == "v2"
    assert variant_of(Plan(48, 4096, 8, 0), 4096) == "v1"


@needs_kernels
def test_layers_are_packed_once_for_all_thread_counts() -> None:
    bench = Bench(SMALL)
    first = bench.lookups("fp32", "fp32", 128, 1)
    assert len(first) == SMALL.layers
    assert bench.lookups("fp32", "fp32", 128, 2) is first
    assert {layer.threads for layer in first} == {2}
    assert Group(3, 1, "hot").mode == "hot"


@needs_kernels
def test_the_gather_of_a_tile_fills_half_a_mebibyte() -> None:
    for table in ("fp32", "bf16", "int8"):
        ffn, call, row_bytes = gather_tile(table, 256)  # type: ignore[arg-type]
        assert call() < 0
        assert ffn._tables.data.nbytes == 512 << 10
        assert row_bytes == 2048
