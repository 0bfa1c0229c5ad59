"""`lookupsim predict`, `compare` and `explain`: options in, tables or records out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simulator.cli_common import fail
from simulator.cli_options import Task, event_options, machine_names, task_options
from simulator.schedule import NAMED

if TYPE_CHECKING:
    from simulator.machine import Machine
    from simulator.workload import Workload

SUMMARY_BATCHES = (1.0, 64.0, 512.0, 4096.0, 32768.0)
SUMMARY_THREADS = (1.0, "all")


@click.command()
@click.option("--machine", "-m", default="host", show_default=True, metavar="ID|FILE", help="CPU spec, or 'host'.")
@click.option(
    "--dtype", multiple=True, help="Precision (fp32, bf16, int8; GEMM also int8-weight-only, int4-weight-only)."
)
@click.option("--engine", type=click.Choice(["analytic", "events"]), default="analytic", show_default=True,
              help="Closed forms, or the event engine: queues at shared caches, links and memory channels.")  # fmt: skip
@click.option("--schedule", type=click.Choice(tuple(NAMED), case_sensitive=False), default=None,
              help="Loop nest of a look-up FFN in place of the best one; published: the paper's code, V1 with codes and scores"
                   " dealt to the threads one by one.")  # fmt: skip
@event_options
@task_options
def predict(
    task: Task, machine: str, dtype: tuple[str, ...], engine: str, schedule: str | None, events: dict[str, Any]
) -> None:
    """Time, tokens/s and binding resource of one workload on one machine."""
    from dataclasses import replace

    from simulator import tables
    from simulator.eventplaces import EventOptions
    from simulator.explain import Interval, intervals, run_stack, time_stack
    from simulator.predict import predict as run
    from simulator.predict import predict_events
    from simulator.records import prediction_record, station_records, uncertain_values
    from simulator.workload import with_dtype

    if events and engine != "events":
        fail(f"--{next(iter(events)).replace('_', '-')} is a choice of the event engine: add --engine events", code=2)
    cpu = task.machine(machine)
    base = task.load()
    names = [item.strip() for given in dtype for item in given.split(",")]
    variants = [with_dtype(base, checked_dtype(base, name)) for name in dict.fromkeys(names)] or [base]
    rows = []
    event_runs = []
    for count in task.counts(cpu):
        for tokens in task.batch:
            runs = []
            for variant in variants:
                workload = replace(variant, batch=tokens, threads=count)
                runs.append((workload, run(cpu, workload, schedule=schedule)))
            for (workload, prediction), interval in zip(runs, intervals(cpu, runs), strict=True):
                if engine == "analytic":
                    rows.append((prediction, time_stack(cpu, workload, prediction), interval))
                    continue
                timed, ran = predict_events(cpu, workload, EventOptions(**events), schedule=prediction.schedule)
                # Doubt in the spec by the closed forms, around the event engine's time.
                moved = timed.seconds_per_call / prediction.seconds_per_call
                scaled = Interval(interval.low * moved, interval.high * moved)
                rows.append((timed, run_stack(ran, timed.layers), scaled))
                event_runs.append(ran)
    records = [prediction_record(*row) for row in rows]
    for record in records:
        record["uncertain_values"] = uncertain_values(cpu)
    for record, ran in zip(records, event_runs, strict=bool(event_runs)):
        record["stations"] = station_records(ran)

    def show() -> list[Any]:
        last = rows[-1][0]
        head = f"{cpu.name}: {base.name}, {tables.surroundings(base)}"
        alone: list[Any] = []
        if len(rows) == 1:
            met = [tables.stations(event_runs[0])] if event_runs else []
            alone = [tables.phases(last), *met, tables.traffic([last]), f"schedule: {last.schedule_text}"]
        return [head, tables.predictions(rows), *alone, *_footnotes([row[0] for row in rows], cpu)]

    task.emit(records, show)


def checked_dtype(workload: Workload, name: str) -> Any:
    """`name` if the workload has such a precision; otherwise the end of the command."""
    from simulator.comparison import EQUAL_DTYPES, GEMM_DTYPES
    from simulator.workload import GemmFfn
    from simulator.yamlfile import suggest

    known = GEMM_DTYPES if isinstance(workload.operator, GemmFfn) else EQUAL_DTYPES
    if name not in known:
        near = suggest(name, known)
        hint = f" (did you mean {near}?)" if near else ""
        fail(f"--dtype {name}: {workload.name} runs in {', '.join(known)}{hint}", code=2)
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
@click.option("--engine", type=click.Choice(["analytic", "events", "both"]), default="analytic", show_default=True,
              help="Closed forms, the event engine, or both and where and why they differ.")  # fmt: skip
@click.option("--dtype", default=None, metavar="D[,D...]",
              help="Precisions that take part: fp32, bf16, int8 for both forms, int8-weight-only, int4-weight-only for"
                   " GEMM; all unless given.")  # fmt: skip
@task_options
@click.pass_context
def compare(ctx: click.Context, task: Task, machines: str, summary: bool, engine: str, dtype: str | None) -> None:
    """GEMM against look-up FFN: who wins, by how much and why, at equal dtype and best against best."""
    from dataclasses import replace

    from simulator import tables
    from simulator.comparison import GEMM_LIBRARY, at
    from simulator.comparison import compare as run
    from simulator.explain import time_stack
    from simulator.records import difference_record, match_record
    from simulator.workload import with_dtype

    timed_by: Any = "events" if engine == "events" else "analytic"
    if summary:
        free = [name for name in ("batch", "threads") if ctx.get_parameter_source(name).name == "DEFAULT"]  # type: ignore[union-attr]
        wide: dict[str, Any] = {"batch": SUMMARY_BATCHES, "threads": SUMMARY_THREADS}
        task = replace(task, **{name: wide[name] for name in free})
    equal, gemm_dtypes = _dtypes(dtype)
    gemm, lookup = task.pair()
    records: list[dict[str, Any]] = []
    shown: list[Any] = [tables.legend(gemm, lookup, GEMM_LIBRARY, equal)]
    for name in machine_names(machines):
        cpu = task.machine(name)
        predictions: list[Any] = []
        for count in task.counts(cpu):
            rows = []
            differences: list[Any] = []
            for tokens in task.batch:
                a, b = at(gemm, batch=tokens, threads=count), at(lookup, batch=tokens, threads=count)
                comparison = run(cpu, a, b, dtypes=equal, gemm_dtypes=gemm_dtypes, engine=timed_by)
                for match in comparison.matches:
                    g = time_stack(cpu, with_dtype(a, match.gemm.dtype), match.gemm)
                    k = time_stack(cpu, with_dtype(b, match.lookup.dtype.split("/")[1]), match.lookup)
                    records.append(match_record(comparison, match, g.binding, k.binding))
                    if engine == "both":
                        pair = _differences(cpu, a, b, match)
                        records[-1]["engines"] = {form: difference_record(d) for form, (_, d) in pair.items()}
                        differences += [(tokens, p, d) for p, d in pair.values() if match.label == "best"]
                rows.append((comparison, g, k))
                predictions += [comparison.best.gemm, comparison.best.lookup]
            word = "1 thread" if count == 1 else f"{count:g} threads"
            shown.append(tables.verdicts(f"{cpu.name}, {word}", rows))
            if differences:
                shown.append(tables.engines(differences))
            if not summary:
                shown.append(tables.dtypes("us a token and layer by dtype", [row[0] for row in rows]))
        if not summary:
            shown += _footnotes(predictions, cpu)
    task.emit(records, lambda: shown)


def _differences(cpu: Machine, gemm: Workload, lookup: Workload, match: Any) -> dict[str, Any]:
    """(closed forms' prediction, difference of the event engine) of both forms of a match."""
    from simulator.enginereport import both_engines
    from simulator.workload import with_dtype

    return {
        "gemm": both_engines(cpu, with_dtype(gemm, match.gemm.dtype)),
        "lookup": both_engines(cpu, with_dtype(lookup, match.lookup.dtype.split("/")[1])),
    }


def _dtypes(text: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(dtypes of both forms, dtypes of the GEMM) of a `--dtype` list."""
    from simulator.comparison import EQUAL_DTYPES, GEMM_DTYPES
    from simulator.yamlfile import suggest

    if text is None:
        return EQUAL_DTYPES, GEMM_DTYPES
    names = list(dict.fromkeys(item.strip() for item in text.split(",")))
    for name in names:
        if name not in GEMM_DTYPES:
            near = suggest(name, GEMM_DTYPES)
            hint = f" (did you mean {near}?)" if near else ""
            fail(f"--dtype {name}: compare runs in {', '.join(GEMM_DTYPES)}{hint}", code=2)
    equal = tuple(name for name in names if name in EQUAL_DTYPES)
    if not equal:
        fail(f"--dtype {text}: no look-up form has these; add one of {', '.join(EQUAL_DTYPES)}", code=2)
    return equal, tuple(names)


@click.command()
@click.option("--machine", "-m", default="host", show_default=True, metavar="ID|FILE", help="CPU spec, or 'host'.")
@click.option("--dtype", default="best", show_default=True, help="fp32, bf16, int8 (both forms), or best.")
@task_options
def explain(task: Task, machine: str, dtype: str) -> None:
    """Why does GEMM (or look-up) win here, and what would change it?"""
    from dataclasses import asdict

    from simulator import tables
    from simulator.comparison import EQUAL_DTYPES, GEMM_LIBRARY, at
    from simulator.comparison import compare as run
    from simulator.explain import time_stack
    from simulator.levers import levers
    from simulator.records import match_record, prediction_record, uncertain_values
    from simulator.workload import with_dtype

    if dtype not in (*EQUAL_DTYPES, "best"):
        fail(f"--dtype {dtype}: fp32, bf16, int8 or best", code=2)
    cpu = task.machine(machine)
    gemm, lookup = task.pair()
    records: list[dict[str, Any]] = []
    shown: list[Any] = []
    for count in task.counts(cpu):
        for tokens in task.batch:
            a, b = at(gemm, batch=tokens, threads=count), at(lookup, batch=tokens, threads=count)
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
                tables.verdict_sentence(cpu.name, match, GEMM_LIBRARY, g, k, knobs),
                *tables.explanation(match, g, k),
                tables.levers(knobs, match.speedup),
                *_footnotes([match.gemm, match.lookup], cpu),
            ]
    task.emit(records, lambda: shown)
