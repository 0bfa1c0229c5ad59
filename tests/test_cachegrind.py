"""The trace simulator against Cachegrind on a program that Valgrind ran; skipped where Valgrind or g++ is not installed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.cli import lookupsim
from simulator.tracefile import read_trace
from tests.benchmemory_cachegrind import (
    COUNTERS,
    GEOMETRIES,
    Geometry,
    Row,
    cachegrind,
    collect,
    compare,
    compiled,
    missing_tools,
    record,
    simulated,
    tables,
)
from tests.cachegrindmodel import cachegrind_counts, last_level_misses, merged

pytestmark = pytest.mark.skipif(
    bool(missing_tools()), reason=f"not installed: {', '.join(missing_tools())} (Debian: apt-get install valgrind g++)"
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Path]:
    """(folder, command, lackey trace) of the miniature layer."""
    folder = tmp_path_factory.mktemp("valgrind")
    command = [str(compiled(folder)), "1"]
    return folder, command, record(folder, command)


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_misses_agree_with_cachegrind(recorded: tuple[Path, list[str], Path], g: Geometry) -> None:
    folder, command, trace = recorded
    rows = compare("traced", g, cachegrind(folder, command, g), simulated(trace, g))
    assert [row.counter for row in rows] == list(COUNTERS)
    for row in rows:
        assert row.cachegrind > 400
        # all but LL are counted by the same rules; 1 % is what is promised
        assert abs(row.difference) < (0.01 if row.counter == "LL misses" else 0.001), row


def test_cachegrinds_own_rules_give_its_counts_exactly(recorded: tuple[Path, list[str], Path]) -> None:
    folder, command, trace = recorded
    g = GEOMETRIES[-1]
    chunks = list(read_trace(trace))
    found = merged(cachegrind_counts(chunks, g.instructions, g.data, g.last), sum(chunk.modifies for chunk in chunks))
    theirs = cachegrind(folder, command, g)
    assert {name: found[name] for name in theirs} == theirs


@pytest.mark.parametrize("g", [*GEOMETRIES[2:], Geometry((1024, 1, 32), (1024, 2, 32), (4096, 4, 32))], ids=str)
def test_what_remains_in_the_last_level_is_known(recorded: tuple[Path, list[str], Path], g: Geometry) -> None:
    _, _, trace = recorded
    hits = simulated(trace, g).statistics.reference_hits
    assert last_level_misses(read_trace(trace), g.instructions, g.data, g.last) == hits[:, 2].sum()


def test_the_command_reports_these_counts(recorded: tuple[Path, list[str], Path], tmp_path: Path) -> None:
    folder, command, trace = recorded
    g, out = GEOMETRIES[0], tmp_path / "out.json"
    shapes = [",".join(map(str, shape)) for shape in (g.data, g.last, g.instructions)]
    caches = ["--cache", shapes[0], "--cache", shapes[1], "--instruction-cache", shapes[2]]
    assert CliRunner().invoke(lookupsim, ["trace", "run", str(trace), *caches, "--json", str(out)]).exit_code == 0
    found, theirs = json.loads(out.read_text()), cachegrind(folder, command, g)
    assert found["instruction_cache"]["reference_misses"] == theirs["I1mr"]
    first, last = (level["reference_misses"] for level in found["levels"])
    assert first == pytest.approx(theirs["D1mr"] + theirs["D1mw"], rel=0.01)
    assert last == pytest.approx(theirs["ILmr"] + theirs["DLmr"] + theirs["DLmw"], rel=0.01)


def test_another_geometry_is_told_apart(recorded: tuple[Path, list[str], Path]) -> None:
    folder, command, trace = recorded
    g = GEOMETRIES[0]
    smaller = replace(g, data=(g.data[0] // 4, g.data[1], g.data[2]))
    rows = {row.counter: row for row in compare("traced", g, cachegrind(folder, command, g), simulated(trace, smaller))}
    assert rows["D1 misses"].difference > 0.5
    assert rows["I1 misses"].difference == 0.0


def test_without_valgrind_the_table_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "/nowhere")
    found = collect()
    assert found == {"rows": [], "skipped": "not installed: valgrind, g++"}
    assert tables(found) == ["skipped: not installed: valgrind, g++"]
    assert Row("p", "g", "c", 9, 200, 201).difference == pytest.approx(0.005)
