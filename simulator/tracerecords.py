"""Runs and statistics of traces as records with stable field names, for JSON and for tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from simulator.cachegeometry import CacheGeometry, Hierarchy
from simulator.tracerun import RunCounts
from simulator.tracestats import TraceStatistics

TRACE_RECORD_VERSION = 1


def level_name(level: int) -> str:
    """'L1' for level 0."""
    return f"L{level + 1}"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def hierarchy_record(h: Hierarchy, machine: str, instruction_cache: CacheGeometry | None) -> dict[str, Any]:
    """What was simulated; `machine` is empty for a geometry of options."""
    return {
        "machine": machine,
        "cores": h.cores,
        "levels": [{"level": level_name(k), **asdict(level)} for k, level in enumerate(h.levels)],
        "instruction_cache": None if instruction_cache is None else asdict(instruction_cache),
        "tlb": None if h.tlb is None else asdict(h.tlb),
        "prefetchers": [{**asdict(p), "level": level_name(p.level)} for p in h.prefetchers],
        "seed": h.seed,
    }


def run_record(found: RunCounts, names: Sequence[str], has_instruction_cache: bool) -> dict[str, Any]:
    """Counts of a run. Levels count line accesses, and so do `hits` of streams; `reference_misses` and `reference_hits` count
    an access over several lines once, by its outermost line. `names` are those of the streams."""
    s = found.statistics
    levels = []
    for k, level in enumerate(s.levels):
        counted = {name: value for name, value in asdict(level).items() if name != "by_core"}
        missed = int(s.reference_hits[:, k + 1 :].sum()) - (found.missed_fetches if k == 0 else 0)
        share = _share(level.misses, level.accesses)
        levels.append({"level": level_name(k), **counted, "miss_share": share, "reference_misses": missed})
    fetches = {
        "accesses": found.fetch_lines,
        "hits": found.fetch_lines - found.fetch_misses,
        "misses": found.fetch_misses,
        "miss_share": _share(found.fetch_misses, found.fetch_lines),
        "reference_misses": found.missed_fetches,
    }
    tlb = {"accesses": s.tlb_accesses, "l1_misses": s.tlb_l1_misses, "walks": s.tlb_walks}
    places = [*(level_name(k) for k in range(len(s.levels))), "memory"]
    streams = []
    for number, row in enumerate(s.stream_hits):
        if row.any():
            name = names[number] if number < len(names) else f"stream {number}"
            hits = {place: int(value) for place, value in zip(places, row, strict=True)}
            whole = {place: int(value) for place, value in zip(places, s.reference_hits[number], strict=True)}
            streams.append(
                {"stream": number, "name": name, "accesses": int(row.sum()), "hits": hits, "reference_hits": whole}
            )
    return {
        "accesses": found.accesses,
        "loads": found.loads,
        "stores": found.stores,
        "fetches": found.fetches,
        "straddling": found.straddling,
        "warmup_accesses": found.warmup,
        "levels": levels,
        "instruction_cache": fetches if has_instruction_cache else None,
        "memory": {"line_reads": s.memory_reads, "line_writes": s.memory_writes, "transfers": s.transfers},
        "tlb": tlb if s.tlb_accesses else None,
        "streams": streams,
    }


def _bins(counts: Any) -> list[dict[str, int]]:
    """Non-empty bins with their first and last value."""
    edges = [(0, 0), *((1 << k - 1, (1 << k) - 1) for k in range(1, len(counts)))]
    return [{"from": low, "to": high, "count": int(n)} for (low, high), n in zip(edges, counts, strict=True) if n]


def statistics_record(s: TraceStatistics) -> dict[str, Any]:
    """Footprint, strides and reuse distances; distances in lines, footprints in lines and pages of 4 KiB."""
    reuse = s.reuse
    capacities = [1 << k for k in range(3, 23)]
    return {
        "accesses": s.accesses,
        "loads": s.loads,
        "stores": s.stores,
        "fetches": s.fetches,
        "modifies": s.modifies,
        "straddling": s.straddling,
        "cores": s.cores,
        "line_bytes": s.line_bytes,
        "lowest_address": s.lowest_address,
        "highest_address": s.highest_address,
        "data": {"lines": s.data_lines, "pages": s.data_pages},
        "code": {"lines": s.code_lines, "pages": s.code_pages},
        "strides": {"forward": _bins(s.forward), "backward": _bins(s.backward)},
        "reuse": {
            "line_accesses": reuse.accesses,
            "first_touches": reuse.first_touches,
            "sampled_share": reuse.sampled_share,
            "distances": _bins(reuse.counts),
            "lru_miss_shares": [
                {"lines": lines, "bytes": lines * s.line_bytes,
                 "miss_share": _share(reuse.accesses - reuse.lru_hits(lines), reuse.accesses)}
                for lines in capacities
            ],
        },
    }  # fmt: skip
