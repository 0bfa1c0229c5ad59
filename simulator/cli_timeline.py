"""`lookupsim timeline`: one layer and call by the event engine, as a file that Perfetto and chrome://tracing open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simulator.cli_common import fail, write_bytes
from simulator.cli_options import Task, event_options, task_options


@click.command()
@click.option("--machine", "-m", default="host", show_default=True, metavar="ID|FILE", help="CPU spec, or 'host'.")
@click.option("--dtype", default=None, help="Precision; as the workload has it unless given.")
@click.option(
    "--schedule", default=None, metavar="NAME", help="v1 to v5 or published; the best unless given (look-up only)."
)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE.json[.gz]"
)
@click.option("--program", "program_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Also writes what the engine ran, whole numbers that give the same run on every host.")  # fmt: skip
@event_options
@task_options
def timeline(task: Task, machine: str, dtype: str | None, schedule: str | None, output: Path, program_file: Path | None,
             events: dict[str, Any]) -> None:  # fmt: skip
    """One layer and call in time: cores, and packets that wait at links, cache slices and memory channels.

    Takes one batch and one thread count.
    """
    from dataclasses import replace

    from simulator import tables
    from simulator.cli_predict import checked_dtype
    from simulator.eventplaces import EventOptions
    from simulator.eventprogram import to_json
    from simulator.eventtimeline import timeline_of
    from simulator.explain import run_stack
    from simulator.predict import event_program, predict_events
    from simulator.records import prediction_record, station_records
    from simulator.timeline import encoded
    from simulator.workload import with_dtype

    cpu = task.machine(machine)
    counts = task.counts(cpu)
    if len(counts) > 1 or len(task.batch) > 1:
        fail("timeline: one batch and one thread count, got --batch and --threads with several", code=2)
    workload = task.load()
    if dtype is not None:
        workload = with_dtype(workload, checked_dtype(workload, dtype))
    workload = replace(workload, batch=task.batch[0], threads=counts[0])
    chosen = EventOptions(**events)
    prediction, run = predict_events(cpu, workload, chosen, schedule=schedule)
    facts: dict[str, Any] = {
        "machine": cpu.name, "workload": workload.name, "dtype": prediction.dtype, "batch": prediction.batch,
        "threads": prediction.threads, "schedule": prediction.schedule_text, "layer_seconds": run.seconds,
    }  # fmt: skip
    write_bytes(output, encoded(timeline_of(run, facts), compress=output.suffix == ".gz"), "--output")
    if program_file is not None:
        text = to_json(event_program(cpu, workload, prediction.schedule, chosen))
        write_bytes(program_file, text.encode(), "--program")
    record = prediction_record(prediction, run_stack(run, prediction.layers)) | {"stations": station_records(run)}

    def show() -> list[Any]:
        head = f"{cpu.name}: {workload.name}, {prediction.batch:g} tokens, {prediction.threads:g} threads, {prediction.dtype}"
        took = tables.seconds(run.seconds)
        foot = f"{output}: one layer and call, {took}; open it at ui.perfetto.dev or in chrome://tracing"
        return [head, tables.phases(prediction), tables.stations(run), foot]

    task.emit([record], show)
