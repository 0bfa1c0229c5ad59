"""Where llvm-mca may be a referee: loops whose instructions it prices as they were measured on that CPU.

A kind of instruction can bind a loop if it takes at least half of what the loop's most expensive kind takes, each at the
dearer of llvm-mca's and the measured price. Every kind that can bind must have been measured on the target, and llvm-mca,
asked for that instruction alone, must agree within 10 %. A loop that is slower in llvm-mca than the whole stage around it was
measured is excluded as well (prices can be right one by one and ports shared wrongly). Reasons are kept with the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).resolve().parent / "data"
THROUGHPUT_FILE = DATA / "instruction_throughput.yaml"
AGREEMENT = 0.10
CAN_BIND = 0.5
NOT_MEASURED = "not measured"


class DataError(Exception):
    """Stored data are not what they should be; the message names file and place."""


@dataclass(frozen=True)
class Published:
    """Reciprocal throughputs of one CPU: kind of instruction -> cycles."""

    name: str
    targets: tuple[str, ...]
    spec: str
    source: str
    cycles: Mapping[str, float]


@dataclass(frozen=True)
class Throughputs:
    """`templates`: kind -> how llvm-mca is asked for it; `published`: what was published."""

    templates: Mapping[str, str]
    published: tuple[Published, ...]


@cache
def throughputs(path: Path = THROUGHPUT_FILE) -> Throughputs:
    """The file of published throughputs. Raises DataError."""
    try:
        record = yaml.safe_load(path.read_text())
        machines = [
            Published(m["name"], tuple(m["targets"]), m["spec"] or "", m["source"], m["cycles"])
            for m in record["machines"]
        ]
        templates = dict(record["instructions"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{path}: {error}") from None
    for entry in machines:
        if not entry.source:
            raise DataError(f"{path}: {entry.name}: a published number needs its source")
        for kind, cycles in entry.cycles.items():
            if kind not in templates:
                raise DataError(f"{path}: {entry.name}: '{kind}' has no line under instructions")
            if not isinstance(cycles, (int, float)) or not 0.05 <= cycles <= 200:
                raise DataError(f"{path}: {entry.name}: {kind}: no throughput of an instruction: {cycles!r} cycles")
    return Throughputs(templates, tuple(machines))


def known_cycles(target: str, data: Throughputs, measured: Mapping[str, Any] | None) -> dict[str, float]:
    """Kind -> cycles on a target: published, or measured where the measuring host is of that design (it wins)."""
    found: dict[str, float] = {}
    for entry in data.published:
        if target in entry.targets:
            found.update(entry.cycles)
    if measured is not None and measured["target"] == target:
        found.update({kind: value["median"] for kind, value in measured["instruction_cycles"].items()})
    return found


def disagreements(known: Mapping[str, float], alone: Mapping[str, float]) -> dict[str, str]:
    """Kinds that llvm-mca prices otherwise than measured, with both prices."""
    return {
        kind: f"{kind}: llvm-mca {alone[kind]:.2f} cycles, measured {cycles:.2f}"
        for kind, cycles in known.items()
        if kind in alone and abs(alone[kind] / cycles - 1.0) > AGREEMENT
    }


def why_excluded(
    kinds: Mapping[str, int], known: Mapping[str, float], alone: Mapping[str, float], static: Mapping[str, float]
) -> list[str]:
    """Reasons against llvm-mca for one loop on one target; empty: trusted.

    kinds: kind -> how often it stands in the loop; known: measured or published cycles; alone: llvm-mca's for the instruction
    by itself; static: llvm-mca's table entry for kinds that are not asked for alone.
    """

    def price(kind: str) -> float:
        return max(known.get(kind, 0.0), alone.get(kind, static.get(kind, 0.0)))

    cost = {kind: count * price(kind) for kind, count in kinds.items()}
    if not cost:
        return ["no vector instruction to compare"]
    top = max(cost.values())
    binding = sorted(kind for kind, value in cost.items() if value >= CAN_BIND * top)
    wrong = disagreements(known, alone)
    reasons = [wrong[kind] for kind in binding if kind in wrong]
    unmeasured = [kind for kind in binding if kind not in known or kind not in alone]
    if unmeasured:
        reasons.append(f"{NOT_MEASURED}: {', '.join(unmeasured)}")
    return reasons
