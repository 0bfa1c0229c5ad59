"""The event engine on the command line: predict, compare and timeline, and one message for what cannot be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from simulator.cli import lookupsim

COMMON = ["-b", "64", "-t", "8"]
MACHINE = ["-m", "amd-epyc-9755"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(lookupsim, list(arguments))


def record(path: Path) -> Any:
    found = json.loads(path.read_text())
    assert found["host"]["lookupsim_version"]
    return found["records"][0]


def test_predict_by_events_adds_up_and_is_near_the_closed_forms(tmp_path: Path) -> None:
    files = tmp_path / "events.json", tmp_path / "analytic.json"
    for engine, path in zip(("events", "analytic"), files, strict=True):
        result = run("predict", *MACHINE, "-b", "512", "-t", "1", "--engine", engine, "--json", str(path))
        assert result.exit_code == 0, result.output
    events, analytic = (record(path) for path in files)
    assert events["engine"] == "events"
    assert events["seconds_per_call"] == pytest.approx(analytic["seconds_per_call"], rel=0.05)
    assert sum(events["time_stack_seconds"].values()) == pytest.approx(events["seconds_per_call"], rel=1e-9)
    assert events["seconds_per_call_low"] < events["seconds_per_call"] < events["seconds_per_call_high"]
    assert events["schedule"] == analytic["schedule"]
    for phase in events["phases"]:
        assert sum(phase["stack_seconds"].values()) == pytest.approx(phase["seconds"], rel=1e-9)
    assert all(phase["stack_seconds"] is None for phase in analytic["phases"])
    assert {station["station"].split(" ")[0] for station in events["stations"]} >= {"L3", "channel"}
    assert "stations" not in analytic


def test_a_phase_shows_what_its_time_is_made_of(tmp_path: Path) -> None:
    """Pieces taken one by one wait for the shared counter: the closed forms' terms have no column for that."""
    path = tmp_path / "dynamic.json"
    result = run(
        "predict",
        *MACHINE,
        "-b",
        "64",
        "-t",
        "128",
        "--engine",
        "events",
        "--scheduling",
        "dynamic",
        "--json",
        str(path),
    )
    assert result.exit_code == 0, result.output
    gather = next(phase for phase in record(path)["phases"] if phase["name"] == "gather")
    assert gather["stack_seconds"]["synchronisation"] > 0.8 * gather["seconds"]
    assert "where packets meet" in result.output
    lines = result.output.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("phase "))
    columns = lines[begin].split()
    cells = dict(zip(columns, next(line for line in lines[begin:] if line.startswith("gather")).split(), strict=True))
    parts = [float(cells[name]) for name in columns[2:]]
    assert sum(parts) == pytest.approx(float(cells["time"]), rel=0.02)


def test_compare_both_says_where_and_why(tmp_path: Path) -> None:
    path = tmp_path / "both.json"
    result = run("compare", *MACHINE, "-b", "512", "-t", "128", "--engine", "both", "--json", str(path))
    assert result.exit_code == 0, result.output
    assert "where and why" in result.output
    for form in ("gemm", "lookup"):
        found = record(path)["engines"][form]
        assert found["events_over_analytic"] == pytest.approx(found["events_seconds"] / found["analytic_seconds"])
        assert found["agree"] is (abs(found["events_over_analytic"] - 1.0) <= 0.05)
        assert found["reason"]


def test_compare_by_events_moves_the_interval_with_the_ratio(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    result = run("compare", *MACHINE, *COMMON, "--engine", "events", "--json", str(path))
    assert result.exit_code == 0, result.output
    for found in json.loads(path.read_text())["records"]:
        assert found["speedup_low"] <= found["speedup"] <= found["speedup_high"]


def test_a_timeline_has_every_core_and_the_queues(tmp_path: Path) -> None:
    output, program = tmp_path / "run.json.gz", tmp_path / "program.json"
    result = run("timeline", *MACHINE, *COMMON, "-o", str(output), "--program", str(program))
    assert result.exit_code == 0, result.output
    events = json.loads(gzip.decompress(output.read_bytes()))["traceEvents"]
    names = {e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert {f"core {k}" for k in range(8)} <= names
    slices = [e for e in events if e["ph"] == "X"]
    assert {"gather", "block_gemm"} <= {e["name"] for e in slices}
    assert any(e["ph"] == "C" for e in events)
    # The slices of a core follow each other without a gap that is not waiting: they cover the run.
    ends = {}
    for e in sorted(slices, key=lambda e: (e["tid"], e["ts"])):
        assert e["ts"] >= ends.get(e["tid"], 0.0) - 1e-6
        ends[e["tid"]] = e["ts"] + e["dur"]
    assert max(ends.values()) - min(ends.values()) < 1e-3
    again = tmp_path / "again.json.gz"
    assert run("timeline", *MACHINE, *COMMON, "-o", str(again)).exit_code == 0
    assert again.read_bytes() == output.read_bytes()
    assert json.loads(program.read_text())["format_version"] == 1
    plain = tmp_path / "run.json"
    printed = run("timeline", *MACHINE, *COMMON, "-o", str(plain), "--format", "json")
    assert plain.read_bytes() == gzip.decompress(output.read_bytes())
    assert json.loads(printed.output)["records"][0]["stations"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-b", "1,2", "-t", "1"], "one batch and one thread count"),
        (["-b", "1", "-t", "1,2"], "one batch and one thread count"),
        (["-b", "1", "-t", "1", "--dtype", "fp8"], "--dtype fp8"),
        (["-b", "1", "-t", "1", "--placement", "nowhere"], "nowhere"),
        (["-b", "1", "-t", "9999"], "9999 threads do not fit"),
    ],
)
def test_what_cannot_be_is_one_message(arguments: list[str], message: str, tmp_path: Path) -> None:
    output = tmp_path / "run.json.gz"
    result = run("timeline", *MACHINE, *arguments, "-o", str(output))
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)
    assert not output.exists()


def test_a_timeline_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    result = run("timeline", *MACHINE, *COMMON, "-o", str(tmp_path / "no" / "run.json.gz"))
    assert result.exit_code == 1
    assert "--output" in result.output
    assert "cannot be written" in result.output


def seconds(tmp_path: Path, *arguments: str) -> float:
    path = tmp_path / "one.json"
    result = run("predict", *arguments, "--engine", "events", "--json", str(path))
    assert result.exit_code == 0, result.output
    return float(record(path)["seconds_per_call"])


def test_remote_memory_costs_time(tmp_path: Path) -> None:
    two = [
        "-m",
        "intel-xeon-platinum-8480plus",
        "-b",
        "1024",
        "-t",
        "112",
        "--set",
        "sockets=2",
        "--set",
        "caches.L3.size=15MiB",
    ]
    local, first = (seconds(tmp_path, *two, "--placement", place) for place in ("local", "first-touch"))
    assert first > 1.1 * local


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--smt", "2"], "--smt is a choice of the event engine: add --engine events"),
        (["--scheduling", "dynamic"], "--scheduling is a choice of the event engine"),
        (["--engine", "events", "--smt", "4"], "4 threads a core do not fit amd-epyc-9755: its cores have 2"),
    ],
)
def test_choices_of_the_event_engine_go_with_it(arguments: list[str], message: str) -> None:
    result = run("predict", *MACHINE, *COMMON, *arguments)
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)
