"""The trace simulator against Cachegrind on programs that Valgrind ran: `python -m tests.benchmemory_cachegrind`.

A program runs under Valgrind's lackey, which records its accesses, and under Cachegrind, which counts misses itself; the record
goes through `TraceRun` for the same caches. Both tools give a program the same addresses as long as its environment is the same.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from simulator.cachegeometry import CacheGeometry, Hierarchy
from simulator.cli_common import console, write_json
from simulator.tracechunk import FETCH, LOAD, STORE
from simulator.tracefile import read_trace
from simulator.tracerun import RunCounts, TraceRun

SOURCE = Path(__file__).resolve().parent / "data" / "traced.cpp"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
Shape = tuple[int, int, int]
"""Size in bytes, ways, bytes a line."""


@dataclass(frozen=True)
class Geometry:
    """Cachegrind's three caches: I1 and D1 in front of LL."""

    instructions: Shape
    data: Shape
    last: Shape

    def __str__(self) -> str:
        named = (("I1", self.instructions), ("D1", self.data), ("LL", self.last))
        return ", ".join(f"{name} {size / 1024:g}K/{ways}" for name, (size, ways, _) in named) + f", {self.last[2]} B"


GEOMETRIES = (
    Geometry((32768, 8, 64), (32768, 8, 64), (1 << 20, 16, 64)),
    Geometry((32768, 8, 64), (49152, 12, 64), (2 << 20, 16, 64)),
    Geometry((16384, 4, 64), (8192, 1, 64), (262144, 4, 64)),
    Geometry((4096, 2, 32), (4096, 2, 32), (131072, 8, 32)),
)
COUNTERS = ("I1 misses", "D1 read misses", "D1 write misses", "D1 misses", "LL misses")


@dataclass(frozen=True)
class Row:
    """One counter of one program and geometry. `references`: what Cachegrind counted the misses of."""

    program: str
    geometry: str
    counter: str
    references: int
    cachegrind: int
    lookupsim: int

    @property
    def difference(self) -> float:
        """Relative to Cachegrind's count."""
        return self.lookupsim / self.cachegrind - 1.0 if self.cachegrind else float(self.lookupsim)


def missing_tools() -> list[str]:
    """Programs that are needed and not installed."""
    return [name for name in ("valgrind", "g++") if shutil.which(name) is None]


def compiled(folder: Path) -> Path:
    """The traced program of this repository, static: its own work outweighs its start."""
    program = folder / "traced"
    subprocess.run(["g++", "-O2", "-std=c++17", "-static", "-o", str(program), str(SOURCE)], check=True)
    return program


def _valgrind(folder: Path, options: Sequence[str], command: Sequence[str]) -> None:
    subprocess.run(["valgrind", *options, *command], cwd=folder, env=ENVIRONMENT, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def record(folder: Path, command: Sequence[str]) -> Path:
    """The program's accesses, by lackey."""
    _valgrind(folder, ["--tool=lackey", "--trace-mem=yes", "--log-file=lackey.txt"], command)
    return folder / "lackey.txt"


def cachegrind(folder: Path, command: Sequence[str], g: Geometry) -> dict[str, int]:
    """Cachegrind's totals by its own names of events."""
    shapes = (("I1", g.instructions), ("D1", g.data), ("LL", g.last))
    options = [f"--{name}={','.join(map(str, shape))}" for name, shape in shapes]
    _valgrind(folder, ["--tool=cachegrind", "--cache-sim=yes", "--cachegrind-out-file=cg.out", *options], command)
    lines = (folder / "cg.out").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1:] for line in lines if line.startswith(("events:", "summary:"))}
    return dict(zip(values["events"], map(int, values["summary"]), strict=True))


def simulated(trace: Path, g: Geometry) -> RunCounts:
    """The recorded accesses through the same caches."""
    first, data, last = (CacheGeometry(*shape) for shape in (g.instructions, g.data, g.last))
    run = TraceRun(Hierarchy((data, last)), first)
    for chunk in read_trace(trace, "lackey"):
        run.feed(chunk)
    return run.counts()


def compare(program: str, g: Geometry, theirs: dict[str, int], ours: RunCounts) -> list[Row]:
    """The counters of one run."""
    hits = ours.statistics.reference_hits
    reads, writes = (int(hits[kind, 1:].sum()) for kind in (LOAD, STORE))
    last = int(hits[[LOAD, STORE, FETCH], 2:].sum())
    data = theirs["Dr"] + theirs["Dw"]
    table = {
        "I1 misses": (theirs["Ir"], theirs["I1mr"], ours.missed_fetches),
        "D1 read misses": (theirs["Dr"], theirs["D1mr"], reads),
        "D1 write misses": (theirs["Dw"], theirs["D1mw"], writes),
        "D1 misses": (data, theirs["D1mr"] + theirs["D1mw"], reads + writes),
        "LL misses": (data + theirs["Ir"], theirs["ILmr"] + theirs["DLmr"] + theirs["DLmw"], last),
    }
    return [Row(program, str(g), name, *table[name]) for name in COUNTERS]


def programs(folder: Path) -> dict[str, list[str]]:
    """Commands by name: this repository's miniature layer, and a program of the system."""
    words = folder / "words.txt"
    words.write_text("".join(f"{(k * 7919) % 4001:05d} look-up\n" for k in range(4001)))
    found = {"traced.cpp": [str(compiled(folder)), "12345"]}
    if shutil.which("sort", path=ENVIRONMENT["PATH"]):
        found["sort, 4001 lines"] = ["sort", str(words)]
    return found


def agreement() -> list[Row]:
    """Every program, geometry and counter."""
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for program, command in programs(folder).items():
            trace = record(folder, command)
            for g in GEOMETRIES:
                rows += compare(program, g, cachegrind(folder, command, g), simulated(trace, g))
            trace.unlink()
    return rows


def collect() -> dict[str, Any]:
    """All rows, and the largest difference of each counter; without Valgrind only the reason."""
    missing = missing_tools()
    if missing:
        return {"rows": [], "skipped": f"not installed: {', '.join(missing)}"}
    rows = agreement()
    worst = {name: max(abs(row.difference) for row in rows if row.counter == name) for name in COUNTERS}
    version = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "rows": [{**asdict(row), "difference": row.difference} for row in rows],
        "worst": worst,
        "valgrind": version,
    }


def tables(found: dict[str, Any]) -> list[Any]:
    """The rows for a terminal."""
    from rich.table import Table

    if not found["rows"]:
        return [f"skipped: {found['skipped']}"]
    result = Table(box=None, pad_edge=False)
    for index, column in enumerate(
        ("program", "caches", "counter", "references", "Cachegrind", "lookupsim", "difference")
    ):
        result.add_column(column, no_wrap=True, justify="left" if index < 3 else "right")
    for record in found["rows"]:
        row = Row(**{field.name: record[field.name] for field in fields(Row)})
        result.add_row(row.program, row.geometry, row.counter, f"{row.references:,}", f"{row.cachegrind:,}",
                       f"{row.lookupsim:,}", f"{row.difference:+.3%}")  # fmt: skip
    return [result, "largest: " + ", ".join(f"{name} {value:.3%}" for name, value in found["worst"].items())]


@click.command()
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def main(json_file: Path | None) -> None:
    """Misses of recorded programs: this simulator against Cachegrind."""
    found = collect()
    screen = console()
    screen.width = max(screen.width, 130)
    for table in tables(found):
        screen.print(table)
    if json_file is not None:
        write_json(json_file, found)


if __name__ == "__main__":
    main()
