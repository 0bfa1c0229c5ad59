"""A campaign: one host, one seed, one file. Microbenchmarks, then the calibration and its predictions, then the held-out rounds.

Whatever was finished when a campaign was interrupted is not measured again.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernels.build import BuildError
from kernels.gemmlibrary import LIBRARIES, load_library
from kernels.hostspec import detect_spec
from kernels.library import KernelError
from kernels.measure import pinned
from validate import draw, hold, probing
from validate.calls import Calls
from validate.hostfacts import host_facts, host_id, load_average, steal_seconds, why_another
from validate.journal import Journal, JournalError, is_unfinished
from validate.points import Point, record_of

Line = dict[str, Any]
Note = Callable[[str, float], None]
"""Takes what goes on, and the share of the campaign that is done."""

Freeze = Callable[[Sequence[Line]], Sequence[Line]]
"""From all lines so far to those of the calibration and of the frozen predictions."""

PROBED, CALIBRATED = 0.35, 0.45
"""Shares of a campaign's time until the microbenchmarks and the calibration are done."""

EXPECTED_SECONDS = {"quick": 35.0, "full": 110.0}
PASSES = {"quick": 3, "full": 7}
GEMM_SECONDS = {"quick": 0.003, "full": 0.006}


def now() -> str:
    """The time as a campaign writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def thread_counts(cpus: Sequence[int]) -> tuple[int, ...]:
    """1, and all of them."""
    return (1, len(cpus)) if len(cpus) > 1 else (1,)


def points_of(first: Line) -> list[list[Point]]:
    """The held-out groups of a campaign by its first line."""
    amount = draw.QUICK if first["mode"] == "quick" else draw.FULL
    groups = draw.held_out(first["seed"], tuple(first["threads"]), amount)
    if first.get("huge_pages", True):
        return groups
    return [[replace(p, page="4KiB") for p in group] for group in groups]


def unfinished(folder: Path, host: str, mode: str, seed: int | None) -> Path | None:
    """The newest campaign that can go on. Files of other programs in the folder are not looked at."""
    found = sorted(folder.glob(f"{host}-{mode}-*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        if seed is not None and not path.stem.endswith(f"-{seed}"):
            continue
        if is_unfinished(path):
            return path
    return None


class Campaign:
    """One run of the measurements; `journal` is its file."""

    def __init__(self, journal: Journal, cpus: Sequence[int], note: Note) -> None:
        self.journal, self.cpus, self.note = journal, tuple(cpus), note
        self.first = journal.lines[0]
        self.mode = str(self.first["mode"])
        self.quick = self.mode == "quick"

    @classmethod
    def begin(cls, folder: Path, mode: str, seed: int | None, cpus: Sequence[int], note: Note) -> Campaign:
        """A campaign that was not finished goes on; else a new one. Raises JournalError, HostError."""
        facts = host_facts(tuple(cpus))
        path = unfinished(folder, host_id(facts), mode, seed)
        if path is not None:
            journal = Journal.resumed(path)
            if other := why_another(facts, journal.lines[0]["host"]):
                raise JournalError(f"{path}:1: the campaign of another machine: {other}; move the file away")
            note(f"goes on with {path}", 0.0)
            journal.add({"record": "resumed", "time": now(), "load": load_average(), "steal_seconds": steal_seconds()})
            return cls(journal, cpus, note)
        seed = int(time.time()) if seed is None else seed
        first: Line = {
            "seed": seed,
            "mode": mode,
            "started": now(),
            "huge_pages": probing.huge_pages(),
            "threads": list(thread_counts(cpus)),
            "cpus": list(cpus),
            "host_id": host_id(facts),
            "host": facts,
            "spec": detect_spec(),
            "load": load_average(),
            "steal_seconds": steal_seconds(),
        }
        return cls(Journal.new(folder / f"{host_id(facts)}-{mode}-{seed}.jsonl", first), cpus, note)

    def run(self, freeze: Freeze) -> None:
        """Everything that is still to do. Raises JournalError, KernelError, BuildError."""
        for (
            name
        ) in LIBRARIES:  # before this thread is pinned: their workers take the CPUs that they see when they are loaded
            try:
                load_library(name)
            except (KernelError, BuildError):
                continue
        self.probe()
        if not self.journal.of("predicted"):
            self.note("calibrating, and predicting what will be measured", PROBED)
            for line in freeze(self.journal.lines):
                self.journal.add({**line, "time": now()})
        with pinned():
            self.hold_out()
        if not self.journal.of("end"):
            self.journal.add({
                "record": "end", "time": now(), "clock_hz": probing.clock(self.cpus, fma=False), "load": load_average(),
                "steal_seconds": steal_seconds(),
            })  # fmt: skip

    def probe(self) -> None:
        """The passes of the microbenchmarks that are still missing."""
        passes = PASSES[self.mode]
        missing = [n for n in range(passes) if n >= len(self.journal.of("pass"))]
        if not missing:
            return
        memory = probing.Memory(self.cpus, self.quick)
        if not self.journal.of("pages"):
            self.journal.add({"record": "pages", "regions": memory.pages})
        libraries = [pair for pair in draw.GEMM_DTYPES if pair[0] in self.first["host"]["libraries"]]
        points = probing.gemm_points(len(self.cpus), libraries, self.quick)
        calls, series = Calls(self.cpus), {}  # type: ignore[var-annotated]
        for number in missing:
            self.note(f"microbenchmarks, pass {number + 1} of {passes}", PROBED * number / passes)
            line: Line = {"record": "pass", "pass": number, "time": now(), **probing.core_pass(self.cpus)}
            line["memory"] = memory.one_pass()
            with pinned():
                line["gemm"] = probing.gemm_pass(points, calls, series, GEMM_SECONDS[self.mode])
            self.journal.add(line)

    def hold_out(self) -> None:
        """The held-out rounds that are still missing."""
        effort = hold.QUICK if self.quick else hold.FULL
        groups = points_of(self.first)
        rounds: dict[int, int] = {}
        for line in self.journal.of("round"):
            rounds[line["group"]] = rounds.get(line["group"], 0) + (not line["repeated"])
        missing = [number for number in range(len(groups)) if rounds.get(number, 0) < effort.rounds]
        if not missing:
            return
        reference, calls = hold.Reference(self.cpus), Calls(self.cpus, int(self.first["seed"]))
        for place, number in enumerate(missing):
            done = 1.0 - (len(missing) - place) / len(groups)
            self.note(f"held-out points, group {number + 1} of {len(groups)}", CALIBRATED + (1.0 - CALIBRATED) * done)
            points = [p for p in groups[number] if self.runs(p)]
            if not points:
                continue
            calls.forget()
            made = hold.prepare(points, calls, effort.seconds_a_round)
            if not any(line["group"] == number for line in self.journal.of("group")):
                self.journal.add({"record": "group", "group": number, "points": [record_of(p) for p in points],
                                  "repeats": [timed.repeats for timed in made]})  # fmt: skip
            hold.measure_group(
                made, effort, reference,
                lambda line, group=number: self.journal.add({"record": "round", "group": group, **line}),  # type: ignore[misc]
                rounds.get(number, 0),
            )  # fmt: skip

    def runs(self, point: Point) -> bool:
        """Whether this host has the point's library."""
        return not point.library or point.library in self.first["host"]["libraries"]
