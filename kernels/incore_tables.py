"""`make incore` on the terminal: loops by target, what is excluded and why, and the model's errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from kernels.incore_errors import Comparison, summary
from kernels.incore_targets import TARGETS
from kernels.incore_trust import NOT_MEASURED, Throughputs, disagreements, known_cycles

GROUPS = (("stage", "stages measured"), ("instruction", "instructions measured"), ("published", "instructions published"),
          ("llvm-mca", "llvm-mca, trusted loops"))  # fmt: skip


def _table(title: str, *columns: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left else "right")
    return table


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    if "cycles" not in found:
        return "-"
    return f"{found['cycles']:.1f}{'' if found['excluded'] else '*'}"


def loop_table(record: Mapping[str, Any], compiler: str, machine: str) -> Table:
    """Cycles an iteration by loop and target; a star: trusted."""
    targets = [t.name for t in TARGETS if t.machine == machine]
    table = _table(f"\n{compiler}, {machine}: cycles an iteration (*: trusted)", "loop", *targets, "chain")
    for loop in record["loops"]:
        if (loop["compiler"], loop["machine"]) != (compiler, machine):
            continue
        found = loop["targets"]
        chain = next((value["dependency_cycles"] for value in found.values() if "cycles" in value), None)
        cells = (_cell(found.get(name)) for name in targets)
        table.add_row(f"{loop['source']} {loop['loop']}", *cells, "" if chain is None else f"{chain:.1f}")
    return table


def price_table(record: Mapping[str, Any], data: Throughputs, measured: Mapping[str, Any] | None) -> Table:
    """Instructions that llvm-mca prices otherwise than they were measured, by target."""
    table = _table("\nexcluded: instructions that llvm-mca prices wrongly", "target", "instruction: prices", left=2)
    for target in TARGETS:
        known = known_cycles(target.name, data, measured)
        if not known:
            table.add_row(target.name, "no throughput measured or published: every loop is excluded")
        for text in disagreements(known, record["alone"][target.name]).values():
            table.add_row(target.name, text)
    return table


def exclusion_table(record: Mapping[str, Any]) -> Table:
    """Loops by target: how many are trusted, and the reasons against the others with their number."""
    table = _table("\nloops by target", "target", "trusted", "excluded: reason (loops)", left=1)
    table.columns[2].justify = "left"
    for target in TARGETS:
        found = [loop["targets"][target.name] for loop in record["loops"] if target.name in loop["targets"]]
        reasons: dict[str, int] = {}
        for text in (text for value in found for text in value["excluded"]):
            short = "instructions that could bind were never measured" if text.startswith(NOT_MEASURED) else text
            reasons[short] = reasons.get(short, 0) + 1
        trusted = sum(not value["excluded"] for value in found)
        ordered = sorted(reasons.items(), key=lambda pair: -pair[1])
        text = "\n".join(f"{reason} ({count})" for reason, count in ordered)
        table.add_row(target.name, f"{trusted} of {len(found)}", text)
    return table


def error_tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """Every comparison, and median, P95 and worst by kind."""
    each = _table("\nsimulator/incore.py against", "", "where", "predicted", "found", "error", left=2)
    for c in comparisons:
        each.add_row(c.what, c.where, f"{c.predicted:.4g}", f"{c.found:.4g}", f"{c.error:+.0%}")
    total = _table("\nabsolute error", "against", "items", "median", "P95", "worst")
    for key, title in (*GROUPS, ("", "everything")):
        found = summary(c for c in comparisons if key in ("", c.against))
        if found["items"]:
            total.add_row(title, f"{found['items']:g}", *(f"{found[name]:.0%}" for name in ("median", "p95", "worst")))
    return [each, total]


def incore_tables(
    record: Mapping[str, Any], data: Throughputs, measured: Mapping[str, Any] | None, comparisons: Sequence[Comparison]
) -> Iterable[Table]:
    """Everything, in order."""
    for entry in record["compilers"]:
        yield loop_table(record, entry["name"], entry["machine"])
    yield price_table(record, data, measured)
    yield exclusion_table(record)
    yield from error_tables(comparisons)


def measured_table(measured: Mapping[str, Any]) -> Table:
    """Stages as measured."""
    table = _table("Stages from L1, cycles a token", "stage", "median", "IQR")
    for name, value in measured["cycles_per_token"].items():
        table.add_row(name, f"{value['median']:.1f}", f"{value['iqr']:.1f}")
    return table
