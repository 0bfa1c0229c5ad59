"""`python -m kernels bench --compare`: all groups of a comparison one after another, kept on disk after each of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kernels.build import find_compiler
from kernels.compare import GEMMS, Bench, Group, Shape, errors, measure_group
from kernels.gemmlibrary import load_library
from kernels.timing import clock_hertz, usable_cpus

FORMAT_VERSION = 1
BATCHES = (1, 8, 64, 512, 4096)
ROUNDS, SECONDS_A_ROUND = 11, 0.04
QUICK_ROUNDS, QUICK_SECONDS = 5, 0.01


class ResumeError(Exception):
    """A file that cannot be gone on with; the message says why."""


def groups_of(batches: Sequence[int], threads: Sequence[int]) -> list[Group]:
    """Whole models on every number of threads, one repeated layer on one thread."""
    return [Group(b, n, "model") for n in threads for b in batches] + [Group(b, 1, "hot") for b in batches]


def settings_of(shape: Shape, batches: Sequence[int], threads: Sequence[int], quick: bool) -> dict[str, Any]:
    """What must agree between a run and its continuation."""
    return {"shape": asdict(shape), "batches": list(batches), "threads": list(threads), "quick": quick}


def earlier(path: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The record to go on with. Raises ResumeError."""
    if path is None:
        raise ResumeError("--resume needs --json FILE, the file of the run to go on with")
    try:
        record = json.loads(path.read_text())
    except OSError as error:
        raise ResumeError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ResumeError(f"{path}: is not the JSON of a comparison") from None
    if not isinstance(record, dict) or record.get("format_version") != FORMAT_VERSION or "ratios" not in record:
        raise ResumeError(f"{path}: is not a comparison of this version")
    if record.get("settings") != settings:
        raise ResumeError(f"{path}: was made with other settings: {record.get('settings')}")
    return record


def run(
    shape: Shape,
    batches: Sequence[int],
    threads: Sequence[int],
    *,
    quick: bool,
    note: Callable[[str], None],
    keep: Callable[[dict[str, Any]], None],
    before: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Measures every group that `before` lacks; `keep` gets the record after each. Raises KernelError, BuildError."""
    cpus, start = usable_cpus(), time.monotonic()
    libraries = {name: load_library(name) for name, _ in GEMMS}
    record = before or {
        "format_version": FORMAT_VERSION, "settings": settings_of(shape, batches, threads, quick),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "compiler": find_compiler().version,
        "libraries": [{"name": name, "version": used.version, "core_type": used.core_type} for name, used in libraries.items()],
        "cpus": list(cpus), "clock_hertz_before": asdict(clock_hertz(cpus[0])), "complete": False, "elapsed_seconds": 0.0,
        "groups": [], "ratios": [], "times": [],
    }  # fmt: skip
    spent = record["elapsed_seconds"]
    bench = Bench(shape, note)
    accuracy = errors(bench)
    left = [g for g in groups_of(batches, threads) if asdict(g) not in record["groups"]]
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS_A_ROUND)
    for done, group in enumerate(left):
        gone = time.monotonic() - start
        more = f", about {gone / done * (len(left) - done):.0f} s left" if done else ""
        bench.note(f"group {done + 1} of {len(left)}{more}")
        ratios, times = measure_group(bench, group, accuracy, rounds=rounds, seconds=seconds)
        record["ratios"] += ratios
        record["times"] += times
        record["groups"].append(asdict(group))
        record["elapsed_seconds"] = spent + time.monotonic() - start
        keep(record)
    record["clock_hertz_after"] = asdict(clock_hertz(cpus[0]))
    record["complete"] = True
    keep(record)
    return record
