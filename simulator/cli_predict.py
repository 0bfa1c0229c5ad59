"""`lookupsim predict`, `compare` and `explain`: options in, tables or records out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.cli_common import console, fail, write_csv, write_json

if TYPE_CHECKING:
    from simulator.machine import Machine
    from simulator.workload import Workload

SUMMARY_BATCHES = "1,64,512,4096,32768"
DEFAULT_WORKLOAD = "lookupffn-t128-s8-bh4"
MAX_VALUES = 64


class NumberList(click.ParamType):  # type: ignore[type-arg]
    """'1,64,4096' -> (1.0, 64.0, 4096.0); `words` are let through."""

    name = "N[,N...]"

    def __init__(self, low: float, high: float, words: tuple[str, ...] = ()) -> None:
        self.low, self.high, self.words = low, high, words

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Any, ...]:
        """Raises click.BadParameter for anything but whole numbers in range."""
        if isinstance(value, tuple):
            return value
        items = [item.strip() for item in str(value).split(",")]
        if len(items) > MAX_VALUES:
            self.fail(f"at most {MAX_VALUES} values, got {len(items)}", param, ctx)
        return tuple(item if item in self.words else self._number(item, param, ctx) for item in items)

    def _number(self, item: str, param: Any, ctx: Any) -> float:
        hint = f" or {' or '.join(self.words)}" if self.words else ""
        if not item.isascii() or not item.isdigit():
            self.fail(f"'{item}' is not a whole number{hint}", param, ctx)
        if len(item) > 12 or not self.low <= int(item) <= self.high:
            self.fail(f"{item[:20]} is not between {self.low:.0f} and {self.high:.0f}", param, ctx)
        return float(item)


_COMMON: list[Callable[[Any], Any]] = [
    click.option("--workload", "-w", default=DEFAULT_WORKLOAD, show_default=True, metavar="ID|FILE",
                 help="Workload id, YAML file or Hugging Face config.json."),
    click.option("--batch", "-b", type=NumberList(1, 1e9), default="512", show_default=True, help="Tokens per call."),
    click.option("--threads", "-t", type=NumberList(1, 1e6, ("all",)), default="all", show_default=True,
                 help="Threads, one a physical core; 'all' is one full socket."),
    click.option("--residency", type=click.Choice(["model", "hot"]), default=None,
                 help="All layers cycled (model), or one layer repeated (hot)."),
    click.option("--set", "settings", multiple=True, metavar="PATH=VALUE",
                 help="Overrides a spec value, e.g. caches.L2.size=4MiB."),
    click.option("--keep-latency", is_flag=True, help="--set caches.*.size leaves the latency as it is."),
    click.option("--format", "layout", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True),
    click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                 help="Also writes the records as JSON."),
]  # fmt: skip


def _options(function: Any) -> Any:
    for option in reversed(_COMMON):
        function = option(function)
    return function


def _machine(name: str, settings: tuple[str, ...], keep_latency: bool) -> Machine:
    from simulator.specfile import load_machine

    overrides: dict[str, str] = {}
    for setting in settings:
        path, separator, value = setting.partition("=")
        if not separator or not path.strip() or not value.strip():
            fail(f"--set {setting}: write PATH=VALUE, e.g. caches.L2.size=4MiB", code=2)
        overrides[path.strip()] = value.strip()
    if name == "host":
        return _host(overrides, keep_latency)
    return load_machine(name, overrides, scale_latency=not keep_latency)


def _host(overrides: dict[str, str], keep_latency: bool) -> Machine:
    from dataclasses import replace

    from kernels.host import HostError, detect_spec
    from simulator.specfile import load_machine_text

    try:
        text = detect_spec()
    except HostError as error:
        fail(f"host: {error}")
    machine = load_machine_text(text, "host.yaml", overrides, scale_latency=not keep_latency)
    return replace(machine, id="host")


def _machine_names(text: str) -> list[str]:
    from simulator.specfile import available_machines

    names: list[str] = []
    for item in (part.strip() for part in text.split(",")):
        names += [*available_machines()] if item == "all" else [item] if item else []
    if not names:
        fail("--machines names no machine", code=2)
    if len(names) > 256:
        fail(f"--machines: at most 256 machines, got {len(names)}", code=2)
    return list(dict.fromkeys(names))


def _workload(reference: str, residency: str | None) -> Workload:
    from dataclasses import replace

    from simulator.workloadfile import load_workload

    workload = load_workload(reference)
    return workload if residency is None else replace(workload, residency=residency)  # type: ignore[arg-type]


def _pair(reference: str, residency: str | None) -> tuple[Workload, Workload]:
    """(GEMM, look-up) of one FFN, whichever of the two was named."""
    from dataclasses import replace

    from simulator.workload import GemmFfn, derive_lookup
    from simulator.workloadfile import load_workload

    workload = _workload(reference, residency)
    if isinstance(workload.operator, GemmFfn):
        return workload, derive_lookup(workload)
    if not workload.dense:
        fail(f"{reference}: this look-up workload names no GEMM FFN that it replaces (field 'dense')")
    gemm = load_workload(workload.dense)
    gemm = replace(gemm, residency=workload.residency, evicted_bytes_between_layers=workload.evicted_bytes_between_layers,
                   layers=workload.layers)  # fmt: skip
    return gemm, workload


def _threads(value: float | str, machine: Machine) -> float:
    return machine.cores_per_socket if value == "all" else float(value)


def _emit(records: list[dict[str, Any]], layout: str, json_file: Path | None, tables: Callable[[], list[Any]]) -> None:
    from simulator.records import RECORD_VERSION, flat

    payload = {"record_version": RECORD_VERSION, "records": records}
    if json_file is not None:
        write_json(json_file, payload)
    if layout == "json":
        write_json(None, payload)
    elif layout == "csv":
        write_csv([flat(record) for record in records])
    else:
        screen = console()
        for table in tables():
            screen.print(table)


@click.command()
@click.option("--machine", "-m", default="host", show_default=True, metavar="ID|FILE", help="CPU spec, or 'host'.")
@click.option(
    "--dtype", multiple=True, help="Precision (fp32, bf16, int8; GEMM also int8-weight-only, int4-weight-only)."
)
@click.option("--engine", type=click.Choice(["analytic"]), default="analytic", show_default=True)
@_options
def predict(machine: str, dtype: tuple[str, ...], engine: str, workload: str, batch: tuple[float, ...],
            threads: tuple[Any, ...], residency: str | None, settings: tuple[str, ...], keep_latency: bool,
            layout: str, json_file: Path | None) -> None:  # fmt: skip
    """Time, tokens/s and binding resource of one workload on one machine."""
    from dataclasses import replace

    from simulator import tables
    from simulator.explain import intervals, time_stack
    from simulator.predict import predict as run
    from simulator.records import prediction_record, uncertain_values
    from simulator.workload import with_dtype

    cpu = _machine(machine, settings, keep_latency)
    base = _workload(workload, residency)
    variants = [with_dtype(base, _dtype(base, name)) for name in dtype] if dtype else [base]
    rows = []
    for count in threads:
        for tokens in batch:
            runs = []
            for variant in variants:
                task = replace(variant, batch=tokens, threads=_threads(count, cpu))
                runs.append((task, run(cpu, task, engine="analytic")))
            for (task, prediction), interval in zip(runs, intervals(cpu, runs), strict=True):
                rows.append((prediction, time_stack(cpu, task, prediction), interval))
    records = [prediction_record(p, s, i) for p, s, i in rows]
    for record in records:
        record["uncertain_values"] = uncertain_values(cpu)

    def show() -> list[Any]:
        notes = [f"{cpu.name}: {base.name}, {rows[0][0].residency} residency, {rows[0][0].layers:g} layers"]
        extra = _footnotes([row[0] for row in rows], cpu)
        last = rows[-1][0]
        return [*notes, tables.predictions(rows), *([tables.phases(last), tables.traffic([last])] if len(rows) == 1 else []),
                *([f"schedule: {last.schedule_text}"] if len(rows) == 1 else []), *extra]  # fmt: skip

    _emit(records, layout, json_file, show)


def _dtype(workload: Workload, name: str) -> Any:
    from simulator.comparison import EQUAL_DTYPES, GEMM_DTYPES
    from simulator.workload import GemmFfn
    from simulator.yamlfile import suggest

    known = GEMM_DTYPES if isinstance(workload.operator, GemmFfn) else EQUAL_DTYPES
    if name not in known:
        near = suggest(name, known)
        fail(
            f"--dtype {name}: {workload.name} runs in {', '.join(known)}"
            + (f" (did you mean {near}?)" if near else ""),
            code=2,
        )
    return name


def _footnotes(predictions: list[Any], cpu: Machine) -> list[str]:
    from simulator.records import uncertain_values

    notes = []
    if any(not p.native for p in predictions):
        notes.append("~ emulated: the machine has no instruction for this dtype")
    doubtful = uncertain_values(cpu)
    if doubtful:
        notes.append(
            f"{len(doubtful)} of {len(cpu.provenance)} spec values are estimated (lookupsim spec show {cpu.id})"
        )
    if cpu.notes:
        notes.append(cpu.notes.strip())
    return notes


@click.command()
@click.option("--machines", "-m", default="host,all", show_default=True, metavar="ID[,ID...]",
              help="CPU specs; 'all' is every shipped one, 'host' this machine.")  # fmt: skip
@click.option("--summary", is_flag=True, help="One thread and a full socket, at 1 to 32768 tokens.")
@_options
@click.pass_context
def compare(ctx: click.Context, machines: str, summary: bool, workload: str, batch: tuple[float, ...],
            threads: tuple[Any, ...], residency: str | None, settings: tuple[str, ...], keep_latency: bool,
            layout: str, json_file: Path | None) -> None:  # fmt: skip
    """GEMM against look-up FFN: who wins, by how much and why, at equal dtype and best against best."""
    from simulator import tables
    from simulator.comparison import GEMM_LIBRARY, at
    from simulator.comparison import compare as run
    from simulator.explain import time_stack
    from simulator.records import match_record
    from simulator.workload import with_dtype

    if summary:
        given = ctx.get_parameter_source
        batch = (
            batch if given("batch") is click.core.ParameterSource.COMMANDLINE else (1.0, 64.0, 512.0, 4096.0, 32768.0)
        )
        threads = threads if given("threads") is click.core.ParameterSource.COMMANDLINE else (1.0, "all")
    gemm, lookup = _pair(workload, residency)
    records: list[dict[str, Any]] = []
    shown: list[Any] = []
    for name in _machine_names(machines):
        cpu = _machine(name, settings, keep_latency)
        predictions: list[Any] = []
        for count in dict.fromkeys(_threads(t, cpu) for t in threads):
            rows = []
            for tokens in batch:
                a, b = at(gemm, batch=tokens, threads=count), at(lookup, batch=tokens, threads=count)
                comparison = run(cpu, a, b)
                pairs = []
                for match in comparison.matches:
                    g = time_stack(cpu, with_dtype(a, match.gemm.dtype), match.gemm)
                    k = time_stack(cpu, with_dtype(b, match.lookup.dtype.split("/")[1]), match.lookup)
                    pairs.append((g, k))
                    records.append(match_record(comparison, match, g.binding, k.binding))
                rows.append((comparison, *pairs[-1]))
                predictions += [comparison.best.gemm, comparison.best.lookup]
            word = "1 thread" if count == 1 else f"{count:g} threads"
            shown.append(tables.verdicts(f"{cpu.name}, {word}", rows))
            if not summary:
                shown.append(tables.dtypes("us a token and layer by dtype", [row[0] for row in rows]))
        if not summary:
            shown += _footnotes(predictions, cpu)
    head = (
        f"{gemm.name} as GEMM against {lookup.name}:\n"
        f"microseconds a token and layer, {gemm.layers:g} layers, {gemm.residency} residency.\n\n"
        "GEMM, look-up, ratio (GEMM time / look-up time, with its 90 % interval), winner\n"
        "and bound by are best against best: each form in its fastest dtype (f32, b16,\n"
        "i8; w8, w4: weight-only GEMM). fp32, bf16, int8: the ratio at equal dtype.\n"
        "'tie' and '=': the interval holds 1. ~: emulated dtype. bound by: GEMM/look-up (core: pipes,\n"
        "lat: misses in flight, bw: memory bandwidth, sync: barriers and calls).\n"
        f"GEMM is a {GEMM_LIBRARY}.\n"
    )
    _emit(records, layout, json_file, lambda: [head, *shown])


@click.command()
@click.option("--machine", "-m", default="host", show_default=True, metavar="ID|FILE", help="CPU spec, or 'host'.")
@click.option("--dtype", default="best", show_default=True, help="fp32, bf16, int8 (both forms), or best.")
@_options
def explain(machine: str, dtype: str, workload: str, batch: tuple[float, ...], threads: tuple[Any, ...],
            residency: str | None, settings: tuple[str, ...], keep_latency: bool, layout: str,
            json_file: Path | None) -> None:  # fmt: skip
    """Why does GEMM (or look-up) win here, and what would change it?"""
    from dataclasses import asdict

    from simulator import tables
    from simulator.comparison import EQUAL_DTYPES, at
    from simulator.comparison import compare as run
    from simulator.explain import time_stack
    from simulator.levers import levers
    from simulator.records import match_record, prediction_record, uncertain_values
    from simulator.workload import with_dtype

    if dtype not in (*EQUAL_DTYPES, "best"):
        fail(f"--dtype {dtype}: fp32, bf16, int8 or best", code=2)
    cpu = _machine(machine, settings, keep_latency)
    gemm, lookup = _pair(workload, residency)
    records: list[dict[str, Any]] = []
    shown: list[Any] = []
    for count in threads:
        for tokens in batch:
            a = at(gemm, batch=tokens, threads=_threads(count, cpu))
            b = at(lookup, batch=tokens, threads=_threads(count, cpu))
            comparison = run(cpu, a, b)
            match = next(m for m in comparison.matches if m.label == dtype)
            a = with_dtype(a, match.gemm.dtype)
            b = with_dtype(b, match.lookup.dtype.split("/")[1])
            g, k = time_stack(cpu, a, match.gemm), time_stack(cpu, b, match.lookup)
            knobs = levers(cpu, a, b)
            record = match_record(comparison, match, g.binding, k.binding)
            record["gemm"], record["lookup"] = prediction_record(match.gemm, g), prediction_record(match.lookup, k)
            record["levers"] = [asdict(knob) for knob in knobs]
            record["uncertain_values"] = uncertain_values(cpu)
            records.append(record)
            shown += [
                _sentence(cpu, match, g, k, knobs),
                tables.stacks(
                    [
                        (f"GEMM {tables.short_dtype(match.gemm.dtype)}", match.gemm, g),
                        (f"look-up {match.lookup.dtype}", match.lookup, k),
                    ]
                ),
                tables.phases(match.gemm),
                tables.phases(match.lookup),
                tables.traffic([match.gemm, match.lookup]),
                f"GEMM schedule: {match.gemm.schedule_text}\nlook-up schedule: {match.lookup.schedule_text}",
                tables.levers(knobs, match.speedup),
                *_footnotes([match.gemm, match.lookup], cpu),
            ]
    _emit(records, layout, json_file, lambda: shown)


def _sentence(cpu: Machine, match: Any, gemm_stack: Any, lookup_stack: Any, knobs: list[Any]) -> str:
    from simulator.comparison import GEMM_LIBRARY
    from simulator.tables import number

    a, b = match.gemm, match.lookup
    many, more = "s" if a.threads > 1 else "", "s" if a.batch > 1 else ""
    setting = f"On {cpu.name} with {a.threads:g} thread{many}, {a.batch:g} token{more} a call"
    times = (f"GEMM {a.dtype} takes {number(a.seconds_per_token_layer * 1e6)} us a token and layer ({GEMM_LIBRARY}), "
             f"look-up {b.dtype} {number(b.seconds_per_token_layer * 1e6)} us")  # fmt: skip
    interval = f"{match.low:.2f} to {match.high:.2f}"
    if match.winner == "tie":
        verdict = f"That is a tie: the speed-up of {match.speedup:.2f} has a 90 % interval of {interval}"
    else:
        winner = "look-up" if match.winner == "lookup" else "GEMM"
        verdict = f"{winner} wins: the speed-up of look-up is {match.speedup:.2f} (90 %: {interval})"
    why = (f"GEMM spends most on {gemm_stack.binding}, then {gemm_stack.runner_up}; "
           f"look-up on {lookup_stack.binding}, then {lookup_stack.runner_up}")  # fmt: skip
    flips = [knob for knob in knobs if knob.flips_at is not None]
    if flips:
        best = min(flips, key=lambda knob: max(knob.flips_at, 1.0 / knob.flips_at))
        change = f"The nearest single change that turns it round: {best.knob} x {best.flips_at:.2g}"
    else:
        change = "No single knob within 1/8 to 8 of its value turns it round"
    return f"{setting}: {times}. {verdict}. {why}. {change}."
