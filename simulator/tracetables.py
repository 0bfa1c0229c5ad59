"""Trace records as rich tables that read at 80 columns."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

_UNITS = ((30, "GiB"), (20, "MiB"), (10, "KiB"))


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _bytes(value: int) -> str:
    for exponent, unit in _UNITS:
        if value >= 1 << exponent:
            return f"{value / (1 << exponent):.4g} {unit}"
    return f"{value} B"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else ""


def hierarchy_text(record: dict[str, Any]) -> str:
    """One line on what was simulated."""
    parts = []
    for level in record["levels"]:
        text = f"{level['level']} {_bytes(level['size_bytes'])} {level['ways']}-way {level['policy']}"
        parts.append(text if level["inclusion"] == "non-inclusive" else f"{text} {level['inclusion']}")
    if record["instruction_cache"] is not None:
        parts.insert(
            0, f"I1 {_bytes(record['instruction_cache']['size_bytes'])} {record['instruction_cache']['ways']}-way"
        )
    for p in record["prefetchers"]:
        parts.append(f"{p['kind']} prefetcher into {p['level']}")
    if record["tlb"] is not None:
        parts.append(f"{_bytes(record['tlb']['page_bytes'])} pages")
    cores = "1 core" if record["cores"] == 1 else f"{record['cores']} cores"
    return f"{record['machine'] or 'given geometry'}, {cores}: {', '.join(parts)}"


def levels(record: dict[str, Any]) -> Table:
    """Line accesses of every level; the last column counts accesses that missed with one of their lines."""
    names = ("level", "accesses", "hits", "misses", "miss share", "write-backs", "missed by access")
    table = _table("Line accesses by level", *names)
    rows = list(record["levels"])
    if record["instruction_cache"] is not None:
        rows.insert(0, {"level": "I1", **record["instruction_cache"], "writebacks": 0})
    for row in rows:
        counts = (f"{row[name]:,}" for name in ("accesses", "hits", "misses"))
        share = _share(row["misses"], row["accesses"])
        table.add_row(row["level"], *counts, share, f"{row['writebacks']:,}", f"{row['reference_misses']:,}")
    return table


def notes(record: dict[str, Any]) -> list[str]:
    """Memory, TLB, prefetches and accesses over two lines in words."""
    memory, lines = record["memory"], []
    text = f"memory: {memory['line_reads']:,} lines read, {memory['line_writes']:,} written"
    lines.append(text + (f", {memory['transfers']:,} taken from other cores" if memory["transfers"] else ""))
    tlb = record["tlb"]
    if tlb is not None:
        lines.append(f"TLB: {tlb['accesses']:,} look-ups, {tlb['l1_misses']:,} misses of the first level,"
                     f" {tlb['walks']:,} page walks")  # fmt: skip
    for level in record["levels"]:
        if level["prefetches"]:
            lines.append(
                f"{level['level']}: {level['prefetches']:,} lines prefetched, {level['useful_prefetches']:,} of them used"
            )
    if record["straddling"]:
        many = f"{record['straddling']:,} loads and stores touch two lines or more"
        lines.append(f"{many}: every line is an access, 'missed by access' counts them once")
    if record["fetches"] and record["instruction_cache"] is None:
        lines.append(
            f"{record['fetches']:,} instruction fetches were not simulated (--instruction-cache SIZE,WAYS,LINE)"
        )
    return lines


def streams(record: dict[str, Any]) -> Table:
    """Where the accesses of each stream were found."""
    places = list(record["streams"][0]["hits"])
    table = _table("Where each stream was found", "stream", "accesses", *places)
    for row in record["streams"]:
        shares = (_share(value, row["accesses"]) for value in row["hits"].values())
        table.add_row(row["name"], f"{row['accesses']:,}", *shares)
    return table


def _range(bin_: dict[str, int]) -> str:
    low, high = bin_["from"], bin_["to"]
    if high < 1024:
        return f"{low}" if low == high else f"{low}-{high}"
    exponent, unit = next((e, u) for e, u in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")) if low >= 1 << e)
    return f"{low >> exponent}-{high + 1 >> exponent} {unit}"


def statistics(record: dict[str, Any]) -> list[Any]:
    """What `trace stats` prints."""
    head = (f"{record['accesses']:,} accesses: {record['loads']:,} loads, {record['stores']:,} stores, {record['fetches']:,}"
            f" instruction fetches")  # fmt: skip
    if record["modifies"]:
        head += f"; {record['modifies']:,} loads and stores come from modify records"
    cores = "1 core" if record["cores"] == 1 else f"{record['cores']} cores"
    size = record["line_bytes"]
    head += f"; {cores}, {record['straddling']:,} loads and stores over a line's end"
    footprint = _table("Footprint", "", "lines", "bytes", "pages of 4 KiB")
    for name in ("data", "code"):
        row = record[name]
        footprint.add_row(name, f"{row['lines']:,}", _bytes(row["lines"] * size), f"{row['pages']:,}")
    return [head, footprint, _strides(record["strides"]), *_reuse(record["reuse"], size)]


def _strides(record: dict[str, Any]) -> Table:
    table = _table("Lines between successive loads and stores of a core", "lines", "forward", "", "backward", " ")
    total = sum(bin_["count"] for side in record.values() for bin_ in side)
    sides = [{bin_["from"]: bin_ for bin_ in record[name]} for name in ("forward", "backward")]
    for low in sorted({*sides[0], *sides[1]}):
        some = sides[0].get(low) or sides[1][low]
        counts = [side[low]["count"] if low in side else 0 for side in sides]
        table.add_row(_range(some), *(cell for n in counts for cell in (f"{n:,}", _share(n, total))))
    return table


def _reuse(record: dict[str, Any], line_bytes: int) -> list[Any]:
    total = record["line_accesses"]
    table = _table(
        "Reuse distance: other lines since the last access to a line",
        "lines",
        "accesses",
        "share",
        "an LRU cache misses",
    )
    rest = total
    for bin_ in record["distances"]:
        rest -= bin_["count"]
        capacity = _bytes((bin_["to"] + 1) * line_bytes)
        table.add_row(
            _range(bin_), f"{bin_['count']:,}", _share(bin_["count"], total), f"{_share(rest, total)} at {capacity}"
        )
    table.add_row("first touch", f"{record['first_touches']:,}", _share(record["first_touches"], total), "")
    share = record["sampled_share"]
    text = (f"estimated from a sample of 1 of {1 / share:.0f} lines, the footprint of data as well; distances below about"
            f" {32 / share:,.0f} lines are coarse")  # fmt: skip
    note = [] if share == 1.0 else [text]
    return [table, *note]
