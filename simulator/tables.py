"""Predictions as rich tables that read at 80 columns, in a terminal or a file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from simulator.comparison import Comparison, Match
from simulator.explain import Interval, TimeStack
from simulator.levers import Lever
from simulator.predict import RESOURCES, Prediction
from simulator.workload import PAGE_2M_BYTES, Workload

if TYPE_CHECKING:
    from simulator.enginereport import EngineDifference
    from simulator.events import EventRun, StationUse

SHORT = {
    "memory concurrency": "lat",
    "memory bandwidth": "bw",
    "line transfers": "xfer",
    "synchronisation": "sync",
    "imbalance": "imbal",
    "compute": "core",
}
"""Resource names where a table has no room."""

WINNER_WORDS = {"lookup": "look-up", "gemm": "GEMM", "tie": "tie"}
_DTYPE_SHORT = {"int8-weight-only": "w8", "int4-weight-only": "w4"}
_CELL = {"fp32": "f32", "bf16": "b16", "int8": "i8", **_DTYPE_SHORT}


def short_dtype(dtype: str) -> str:
    """'w4' for 'int4-weight-only'; other names as they are."""
    return _DTYPE_SHORT.get(dtype, dtype)


def number(value: float) -> str:
    """Three significant digits without an exponent where that stays short."""
    if value == 0.0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}" if abs(value) >= 0.0995 else f"{value:.2g}"


def seconds(value: float) -> str:
    """A duration with a fitting unit."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if value * factor >= 1.0:
            return f"{number(value * factor)} {unit}"
    return f"{number(value * 1e9)} ns"


def size(value: float) -> str:
    """Bytes with a binary unit."""
    for exponent, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 2.0**exponent:
            return f"{number(value / 2.0**exponent)} {unit}"
    return f"{number(value)} B"


def _table(title: str = "") -> Table:
    return Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
    )


def bound(stack: TimeStack) -> str:
    """The binding resource, shortened."""
    return SHORT.get(stack.binding, stack.binding)


def verdicts(title: str, rows: Sequence[tuple[Comparison, TimeStack, TimeStack]]) -> Table:
    """Best against best and equal dtypes over batches; the stacks are those of the best pair."""
    table = _table(title)
    for name in ("tokens", "GEMM", "look-up", "ratio", "90 %"):
        table.add_column(name, justify="right", no_wrap=True)
    labels = [m.label for m in rows[0][0].matches[:-1]]
    for label in labels:
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("winner", no_wrap=True)
    table.add_column("bound by", no_wrap=True)
    for comparison, gemm_stack, lookup_stack in rows:
        best = comparison.best
        mark = "" if best.gemm.native else "~"
        table.add_row(
            f"{comparison.batch:g}",
            f"{mark}{number(best.gemm.seconds_per_token_layer * 1e6)} {_CELL[best.gemm.dtype]}",
            f"{number(best.lookup.seconds_per_token_layer * 1e6)} {_CELL[best.lookup.dtype.split('/')[1]]}",
            f"{best.speedup:.2f}",
            f"{best.low:.1f}-{best.high:.1f}",
            *(_speedup(m.speedup, m.winner) for m in comparison.matches[:-1]),
            _winner(best.winner),
            f"{bound(gemm_stack)}/{bound(lookup_stack)}",
        )
    return table


def engines(rows: Sequence[tuple[float, Prediction, EngineDifference]]) -> Table:
    """Closed forms against the event engine, best forms of each batch; us a token and layer."""
    table = _table("event engine against closed forms, us a token and layer")
    for name in ("tokens", "form", "closed", "events", "ratio"):
        table.add_column(name, justify="left" if name == "form" else "right", no_wrap=True)
    table.add_column("where and why")
    for tokens, prediction, d in rows:
        scale = 1e6 / prediction.batch
        name = "GEMM" if prediction.form == "gemm" else "look-up"
        dtype = prediction.dtype.split("/")[-1]
        table.add_row(
            f"{tokens:g}",
            f"{name} {_CELL[dtype]}",
            number(d.analytic_seconds * scale),
            number(d.events_seconds * scale),
            f"{d.ratio:.2f}",
            d.sentence,
        )
    return table


def stations(run: EventRun) -> Table:
    """Where packets waited longest in all, by kind of station: links, slices, channels."""
    kinds: dict[str, list[StationUse]] = {}
    for station in run.stations:
        if station.packets:
            kinds.setdefault(station.name.rsplit(" ", 1)[0], []).append(station)
    table = _table("where packets meet")
    for name in ("station", "used", "of them", "busiest", "mean wait", "longest"):
        table.add_column(name, justify="left" if name == "station" else "right", no_wrap=True)
    for kind, members in kinds.items():
        packets = sum(s.packets for s in members)
        waited = sum(s.mean_wait_ps * s.packets for s in members) / packets
        table.add_row(
            kind,
            f"{sum(s.utilisation for s in members) / len(members):.0%}",
            f"{len(members)}",
            f"{max(s.utilisation for s in members):.0%}",
            seconds(waited * 1e-12),
            seconds(max(s.worst_ps for s in members) * 1e-12),
        )
    return table


def _winner(winner: str) -> Text:
    style = {"lookup": "bold green", "gemm": "bold blue", "tie": "dim"}[winner]
    return Text(WINNER_WORDS[winner], style=style)


def _speedup(value: float, winner: str) -> Text:
    style = {"lookup": "green", "gemm": "blue", "tie": "dim"}[winner]
    return Text(f"{value:.1f}{'=' if winner == 'tie' else ''}", style=style)


def dtypes(title: str, comparisons: Sequence[Comparison]) -> Table:
    """Microseconds a token and layer of every dtype of both forms."""
    table = _table(title)
    table.add_column("tokens", justify="right")
    for run in comparisons[0].gemm:
        table.add_column(_two_lines("GEMM", run), justify="right", no_wrap=True)
    for run in comparisons[0].lookup:
        table.add_column(_two_lines("look-up", run), justify="right", no_wrap=True)
    for comparison in comparisons:
        times = [number(run.seconds_per_token_layer * 1e6) for run in (*comparison.gemm, *comparison.lookup)]
        table.add_row(f"{comparison.batch:g}", *times)
    return table


def _two_lines(form: str, run: Prediction) -> str:
    return f"{form}\n{short_dtype(run.dtype)}{'' if run.native else ' ~'}"


def predictions(rows: Iterable[tuple[Prediction, TimeStack, Interval]]) -> Table:
    """One line a prediction."""
    table = _table()
    table.add_column("form")
    table.add_column("dtype")
    table.add_column("threads", justify="right")
    table.add_column("tokens", justify="right")
    table.add_column("us/token", justify="right")
    table.add_column("90 %", justify="right")
    table.add_column("tokens/s", justify="right")
    table.add_column("bound by")
    for p, stack, interval in rows:
        per = p.seconds_per_token_layer / p.seconds_per_call * 1e6
        table.add_row(
            WINNER_WORDS[p.form],
            short_dtype(p.dtype) + ("" if p.native else " ~"),
            f"{p.threads:g}",
            f"{p.batch:g}",
            number(p.seconds_per_token_layer * 1e6),
            f"{number(interval.low * per)}-{number(interval.high * per)}",
            number(p.tokens_per_second),
            f"{bound(stack)}, {SHORT.get(stack.runner_up, stack.runner_up)}",
        )
    return table


def stacks(columns: Sequence[tuple[str, Prediction, TimeStack]]) -> Table:
    """Time stacks side by side: share of each resource."""
    table = _table("Time stack (us a token and layer; shares add up to the whole)")
    table.add_column("resource")
    for title, _, _ in columns:
        table.add_column(title, justify="right")
        table.add_column("", justify="left")
    for resource in columns[0][2].seconds:
        shares = [stack.seconds[resource] / p.seconds_per_call for _, p, stack in columns]
        if max(map(abs, shares)) < 5e-4:
            continue
        cells: list[str] = []
        for (_, p, stack), share in zip(columns, shares, strict=True):
            per = p.seconds_per_token_layer / p.seconds_per_call * 1e6
            cells += [f"{number(stack.seconds[resource] * per)} {share:4.0%}", "#" * round(share * 16)]
        table.add_row(resource, *cells)
    return table


def phases(p: Prediction) -> Table:
    """Phases of one prediction, microseconds a token and layer. Closed forms: terms before overlap beside the time after it.
    Event engine: the time and what it is made of, which adds up to it (but for shares too small to show)."""
    stacks = [phase.stack_seconds or {} for phase in p.phases]
    if any(stacks):
        least = 5e-4 * sum(phase.seconds for phase in p.phases)  # what no figure of the table would show
        names = [name for name in RESOURCES if max(stack.get(name, 0.0) for stack in stacks) >= least]
        columns = [SHORT.get(name, name) for name in names]
        rows = [
            [value if (value := stack.get(name, 0.0)) >= 0.1 * least else 0.0 for name in names] for stack in stacks
        ]
    else:
        levels = list(p.phases[0].level_seconds)
        shared = any(phase.transfer_seconds > 0.0 for phase in p.phases)
        columns = ["core", *levels, "memory", *(("transfers",) if shared else ()), "sync"]
        rows = [
            [
                phase.core_seconds,
                *phase.level_seconds.values(),
                phase.memory_seconds,
                *((phase.transfer_seconds,) if shared else ()),
                phase.synchronisation_seconds,
            ]
            for phase in p.phases
        ]
    table = _table(f"Phases of {WINNER_WORDS[p.form]} {p.dtype} (us a token and layer)")
    for name in ("phase", "time", *columns):
        table.add_column(name, justify="left" if name == "phase" else "right", no_wrap=name == "phase")
    for phase, row in zip(p.phases, rows, strict=True):
        table.add_row(phase.name, *(number(t / p.batch * 1e6) for t in (phase.seconds, *row)))
    return table


def traffic(runs: Sequence[Prediction]) -> Table:
    """Bytes that came from each level, per layer and call."""
    table = _table("Traffic a layer and call, by the level that served it")
    table.add_column("form")
    for level in runs[0].traffic_bytes:
        table.add_column(level, justify="right")
    table.add_column("FLOP/byte of memory", justify="right")
    for run in runs:
        intensity = (
            "no memory traffic" if run.arithmetic_intensity == float("inf") else number(run.arithmetic_intensity)
        )
        table.add_row(
            f"{WINNER_WORDS[run.form]} {run.dtype}", *(size(b) for b in run.traffic_bytes.values()), intensity
        )
    return table


def levers(rows: Sequence[Lever], speedup: float) -> Table:
    """What each knob does to the speed-up."""
    table = _table(f"What would change it: speed-up of look-up over GEMM, {speedup:.2f} now")
    table.add_column("knob")
    table.add_column("at half", justify="right")
    table.add_column("at double", justify="right")
    table.add_column("winner changes at", justify="right")
    for row in rows:
        flips = "not within 1/8 to 8" if row.flips_at is None else f"{row.flips_at:.2g} x"
        table.add_row(row.knob, f"{row.speedup_at_half:.2f}", f"{row.speedup_at_double:.2f}", flips)
    return table


def surroundings(workload: Workload) -> str:
    """'4 layers, model residency', and the pages where they are small."""
    pages = "" if workload.page_bytes == PAGE_2M_BYTES else f", {size(workload.page_bytes)} pages"
    return f"{workload.layers:g} layers, {workload.residency} residency{pages}"


def legend(gemm: Workload, lookup: Workload, library: str, dtypes: Sequence[str]) -> str:
    """What the columns of `verdicts` mean, in lines of at most 80 columns."""
    text = (
        f"{gemm.name} as GEMM against {lookup.name}:\n"
        f"microseconds a token and layer, {surroundings(gemm)}.\n\n"
        "GEMM, look-up, ratio (GEMM time / look-up time, with its 90 % interval), winner and bound by are best "
        "against best: each form in its fastest dtype (f32, b16, i8; w8, w4: weight-only GEMM). "
        f"{', '.join(dtypes)}: the ratio at equal dtype. 'tie' and '=': the interval holds 1. "
        "~: emulated dtype. bound by: what most time of GEMM/look-up goes to (core: pipes, lat: misses in "
        f"flight, bw: memory bandwidth, sync: barriers and calls). GEMM is a {library}.\n"
    )
    return "\n".join(textwrap.fill(line, 80) for line in text.split("\n"))


def explanation(match: Match, gemm_stack: TimeStack, lookup_stack: TimeStack) -> list[Table | str]:
    """Time stacks, phases, traffic and schedules of both sides."""
    a, b = match.gemm, match.lookup
    both = [(f"GEMM {short_dtype(a.dtype)}", a, gemm_stack), (f"look-up {b.dtype}", b, lookup_stack)]
    schedules = f"GEMM schedule: {a.schedule_text}\nlook-up schedule: {b.schedule_text}"
    return [stacks(both), phases(a), phases(b), traffic([a, b]), schedules]


def verdict_sentence(
    machine: str, match: Match, library: str, gemm_stack: TimeStack, lookup_stack: TimeStack, knobs: Sequence[Lever]
) -> str:
    """Who wins, by how much, what both spend their time on, and the nearest change that would turn it round."""
    a, b = match.gemm, match.lookup
    many, more = "s" if a.threads > 1 else "", "s" if a.batch > 1 else ""
    setting = f"On {machine} with {a.threads:g} thread{many}, {a.batch:g} token{more} a call"
    times = (f"GEMM {a.dtype} takes {number(a.seconds_per_token_layer * 1e6)} us a token and layer ({library}), "
             f"look-up {b.dtype} {number(b.seconds_per_token_layer * 1e6)} us")  # fmt: skip
    interval = f"{match.low:.2f} to {match.high:.2f}"
    if match.winner == "tie":
        verdict = f"That is a tie: the speed-up of {match.speedup:.2f} has a 90 % interval of {interval}"
    else:
        verdict = (
            f"{WINNER_WORDS[match.winner]} wins: the speed-up of look-up is {match.speedup:.2f} (90 %: {interval})"
        )
    why = (f"GEMM spends most on {gemm_stack.binding}, then {gemm_stack.runner_up}; "
           f"look-up on {lookup_stack.binding}, then {lookup_stack.runner_up}")  # fmt: skip
    flips = [(max(knob.flips_at, 1.0 / knob.flips_at), knob) for knob in knobs if knob.flips_at is not None]
    if flips:
        best = min(flips, key=lambda item: item[0])[1]
        change = f"The nearest single change that turns it round: {best.knob} x {best.flips_at:.2g}"
    else:
        change = "No single knob within 1/8 to 8 of its value turns it round"
    return f"{setting}: {times}. {verdict}. {why}. {change}."
