"""`make incore`: the kernels' hot loops, as compilers make them, through llvm-mca for every target.

The record holds what was found, with the versions of every tool; what of it may be used is decided by kernels/incore_trust.py.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernels.build import COMMON_FLAGS, ROOT, Variant, sources, variants
from kernels.incore_items import ITEMS, loop_cycles
from kernels.incore_kinds import count_kinds, kinds_aarch64, kinds_x86, same_work
from kernels.incore_loops import Loop, all_loops, marked_loops
from kernels.incore_mca import LoopCycles, McaError, alone, analyse, find_tool, tool_version
from kernels.incore_targets import TARGETS, Toolchain, toolchains
from kernels.incore_trust import AGREEMENT, DATA, DataError, Throughputs, known_cycles, throughputs, why_excluded

FORMAT_VERSION = 1
STORED, MEASURED = DATA / "incore.json", DATA / "incore_measured.json"
_FLAGS = tuple(flag for flag in COMMON_FLAGS if flag != "-shared" and not flag.startswith("-W"))


@dataclass(frozen=True)
class Compiled:
    """The marked loops of one kernel file by one compiler. `unmarked`: the vector instructions of every loop without marks."""

    variant: Variant
    toolchain: Toolchain
    loops: dict[str, Loop]
    unmarked: tuple[Counter[str], ...]


def marked_variants() -> tuple[Variant, ...]:
    """Kernel files with a mark, in themselves or in what they include (kernels/incore only includes other kernels)."""
    found = (v for v in variants() if v.operator != "incore")
    return tuple(v for v in found if any("LOOKUPSIM_LOOP" in _text(path) for path in sources(v.source)))


def _text(path: Path) -> str:
    return "" if path.name == "mca.hpp" else path.read_text()


def sources_digest(chosen: Sequence[Variant]) -> str:
    """SHA-256 over the files that the loops come from."""
    digest = hashlib.sha256()
    for path in sorted({path for variant in chosen for path in sources(variant.source)}):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def assembly(variant: Variant, toolchain: Toolchain, *, marks: bool) -> str:
    """Assembly of a kernel file. Raises McaError if the compiler refuses it."""
    define = ("-DLOOKUPSIM_MCA",) if marks else ()
    flags = (*_FLAGS, "-w", *variant.isa.flags, *define, f"-I{ROOT / 'include'}", "-S", "-o", "-")
    command = [*toolchain.command, *flags, str(variant.source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        line = next((text for text in done.stderr.splitlines() if "error" in text), "no message")
        raise McaError(f"{variant.operator}/{variant.isa_name}.cpp: {toolchain.version} refuses it: {line}")
    return done.stdout


def compile_loops(variant: Variant, toolchain: Toolchain) -> Compiled:
    """The marked loops, and what loops the same file has without marks. Raises McaError."""
    machine = toolchain.machine
    found = marked_loops(assembly(variant, toolchain, marks=True), machine)
    without = all_loops(assembly(variant, toolchain, marks=False), machine)
    return Compiled(variant, toolchain, found, tuple(count_kinds(body, machine) for body in without))


def _analyse_loop(tool: str, compiled: Compiled, loop: Loop, static: dict[str, Counter[str]]) -> dict[str, Any]:
    machine = compiled.toolchain.machine
    kinds_of = kinds_x86 if machine == "x86_64" else kinds_aarch64
    results: dict[str, Any] = {}
    for target in TARGETS:
        if target.machine != machine or compiled.variant.isa_name not in target.isas:
            continue
        try:
            found = analyse(tool, loop.body, machine, target.name)
        except McaError as error:
            results[target.name] = {"refused": str(error)}
            continue
        results[target.name] = _cycles_record(found)
        for text, cycles in zip(loop.body, found.throughput, strict=True):
            for kind in kinds_of(text)[:1]:
                static[target.name][kind] = max(static[target.name][kind], cycles)  # type: ignore[assignment]
    return {
        "source": f"{compiled.variant.operator}/{compiled.variant.isa_name}.cpp",
        "loop": loop.name,
        "compiler": compiled.toolchain.name,
        "machine": machine,
        "instructions": len(loop.body),
        "kinds": dict(sorted(count_kinds(loop.body, machine).items())),
        "copies": loop.copies,
        "branches": loop.branches,
        "as_unmarked": any(same_work(count_kinds(loop.body, machine), other) for other in compiled.unmarked),
        "targets": results,
    }


def _cycles_record(found: LoopCycles) -> dict[str, Any]:
    return {
        "cycles": round(found.cycles, 3),
        "bound": found.bound,
        "port": found.port,
        "port_cycles": round(found.port_cycles, 3),
        "dependency_cycles": round(found.dependency_cycles, 3),
    }


def price_alone(tool: str, data: Throughputs) -> dict[str, dict[str, float]]:
    """target -> kind -> llvm-mca's cycles for that instruction alone."""
    found: dict[str, dict[str, float]] = {}
    for target in TARGETS:
        arm = target.machine == "aarch64"
        mine = {kind: text for kind, text in data.templates.items() if ("%" not in text) == arm}
        found[target.name] = {
            kind: round(alone(tool, text, target.machine, target.name), 3) for kind, text in mine.items()
        }
    return found


def collect() -> dict[str, Any]:
    """Everything: compiles, analyses and judges. Raises McaError, DataError."""
    tool, data = find_tool(), throughputs()
    compilers, missing = toolchains()
    chosen = marked_variants()
    jobs = [(v, c) for v in chosen for c in compilers if v.isa.machine in ("", c.machine)]
    refused: list[str] = []
    static: dict[str, Counter[str]] = {target.name: Counter() for target in TARGETS}

    def work(job: tuple[Variant, Toolchain]) -> list[dict[str, Any]]:
        try:
            compiled = compile_loops(*job)
        except McaError as error:
            refused.append(str(error))
            return []
        return [_analyse_loop(tool, compiled, loop, static) for loop in compiled.loops.values()]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        loops = [loop for found in pool.map(work, jobs) for loop in found]
    record = {
        "format_version": FORMAT_VERSION,
        "date": datetime.date.today().isoformat(),
        "tool": tool_version(tool),
        "compilers": [{"name": c.name, "machine": c.machine, "version": c.version} for c in compilers],
        "missing": missing + sorted(refused),
        "sources_sha256": sources_digest(chosen),
        "alone": price_alone(tool, data),
        "static": {
            name: {kind: round(value, 3) for kind, value in sorted(found.items())} for name, found in static.items()
        },
        "loops": sorted(loops, key=lambda loop: (loop["source"], loop["loop"], loop["compiler"], loop["machine"])),
    }
    return judged(record, data, load_measured())


def judged(record: dict[str, Any], data: Throughputs, measured: dict[str, Any] | None) -> dict[str, Any]:
    """The record with the reasons against each result in place (`excluded`, empty: trusted)."""
    for loop in record["loops"]:
        for target, found in loop["targets"].items():
            if "refused" in found:
                found["excluded"] = [found["refused"]]
                continue
            known = known_cycles(target, data, measured)
            reasons = why_excluded(loop["kinds"], known, record["alone"][target], record["static"][target])
            if not loop["as_unmarked"]:
                reasons.append("the mark changed the compiler's code")
            found["excluded"] = reasons
    if measured is not None:
        _judge_by_stages(record["loops"], measured)
    return record


def _judge_by_stages(loops: Sequence[dict[str, Any]], measured: dict[str, Any]) -> None:
    """Excludes loops that llvm-mca finds slower than the whole measured stage around them. The stage was built by the first
    compiler from one file; the same loop by another compiler or in another file counts where it is the same instructions."""
    target = measured["target"]
    built = {
        (loop["source"], loop["loop"]): loop
        for loop in loops
        if loop["compiler"] == "g++" and target in loop["targets"]
    }
    cycles = {
        key: loop["targets"][target]["cycles"] for key, loop in built.items() if "cycles" in loop["targets"][target]
    }
    for item in ITEMS:
        stage, total = measured["cycles_per_token"].get(item.name), loop_cycles(item, cycles)
        if stage is None or total is None or total <= (1.0 + AGREEMENT) * stage["median"]:
            continue
        whole = f"the whole stage was measured at {stage['median']:.0f}"
        reason = f"{item.name}: llvm-mca's loops take {total:.0f} cycles a token, {whole}"
        disproved = {mark: built[source, mark]["kinds"] for source, mark, _ in item.loops}
        for loop in loops:
            if target in loop["targets"] and disproved.get(loop["loop"]) == loop["kinds"]:
                loop["targets"][target]["excluded"].append(reason)


def load_stored(path: Path = STORED) -> dict[str, Any]:
    """The record of the last `make incore` that was committed. Raises DataError."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    if record.get("format_version") != FORMAT_VERSION:
        raise DataError(f"{path}: format_version must be {FORMAT_VERSION}, got {record.get('format_version')!r}")
    return record


def load_measured(path: Path = MEASURED) -> dict[str, Any] | None:
    """The committed measurement of a host, if there is one. Raises DataError."""
    return load_stored(path) if path.is_file() else None
