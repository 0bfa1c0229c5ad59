"""`lookupsim trace`: address streams of files and workloads through exact caches, and what they consist of."""

from __future__ import annotations

import functools
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.cli_common import Failure, console, fail, write_json, written
from simulator.cli_options import DEFAULT_WORKLOAD
from simulator.cli_traceoptions import PAGE_SIZES, FileSource, HierarchyOptions, WorkloadOptions, WorkloadSource
from simulator.schedule import NAMED

if TYPE_CHECKING:
    from simulator.machine import Machine
    from simulator.tracechunk import TraceChunk

INTERRUPTED = 130
_PROGRESS_SECONDS = 0.5
_ENDLESS = 1 << 62

_JSON = click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                     help="Also writes the counts as JSON.")  # fmt: skip
_FORMAT = click.option("--format", "form", type=click.Choice(["npz", "champsim", "lackey"]), default=None,
                       help="Format of the trace; told by its content unless given.")  # fmt: skip

_WORKLOAD_OPTIONS = [
    click.option("--workload", "-w", default=None, metavar="ID|FILE",
                 help=f"In place of a trace: the addresses of a workload's real schedule (e.g. {DEFAULT_WORKLOAD})."),
    click.option("--batch", "-b", type=click.IntRange(1, 10**6), default=64, show_default=True, help="Tokens per call."),
    click.option("--threads", "-t", type=click.IntRange(1, 1024), default=1, show_default=True,
                 help="Threads of the workload, one a core."),
    click.option("--layers", type=click.IntRange(1, 1000), default=None, help="Layers; those of the workload unless given."),
    click.option("--residency", type=click.Choice(["model", "hot"]), default=None,
                 help="All layers cycled (model), or one layer repeated (hot)."),
    click.option("--schedule", type=click.Choice(tuple(NAMED), case_sensitive=False), default=None,
                 help="Loop nest of a look-up FFN; unless given the one that predict chooses on the machine, without one v3."),
    click.option("--set", "settings", multiple=True, metavar="PATH=VALUE",
                 help="Overrides a value of the spec (caches.L2.size=4MiB) or, after workload., of the workload."),
    click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True,
                 help="Of the tokens' rows and of random replacement."),
]  # fmt: skip
_HIERARCHY_OPTIONS = [
    click.option("--machine", "--cpu", "-m", default=None, metavar="ID|FILE",
                 help="Caches and TLBs of a CPU spec; 'host' unless --cache is given."),
    click.option("--cache", "caches", multiple=True, metavar="SIZE,WAYS[,LINE]",
                 help="One cache, e.g. 32KiB,8,64; repeated from the first level outwards. Cores share the last."),
    click.option("--policy", type=click.Choice(["lru", "plru", "srrip", "random"]), default="lru", show_default=True),
    click.option("--inclusion", default=None, metavar="WORD[,WORD...]",
                 help="With --cache: non-inclusive, inclusive or exclusive, of all levels outside the first or of each."),
    click.option("--page-size", type=click.Choice(tuple(PAGE_SIZES), case_sensitive=False), default=None,
                 help="With a CPU: pages of its TLBs, none: no TLB. Traces have 4KiB, workloads their own unless given."),
    click.option("--prefetcher", "prefetchers", multiple=True, metavar="KIND@LEVEL[,DEGREE[,DISTANCE]]",
                 help="A hardware prefetcher: stream, stride or adjacent, e.g. stream@L2,2,16."),
    click.option("--instruction-cache", default=None, metavar="SIZE,WAYS[,LINE]",
                 help="An LRU instruction cache beside the first level; without it fetches are counted only."),
]  # fmt: skip


def _options(kind: type, options: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Adds options that reach the command as one `kind`, its next positional argument."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def command(*args: Any, **given: Any) -> Any:
            return function(*args, kind(**{field.name: given.pop(field.name) for field in fields(kind)}), **given)

        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def trace() -> None:
    """Address traces of programs and address streams of workloads, through exactly simulated caches."""


@trace.command("run")
@click.argument("source", required=False, metavar="[FILE|-]")
@click.option(
    "--cores", type=click.IntRange(1, 1024), default=None, help="Cores of a trace file's hierarchy; 1 unless given."
)
@click.option("--warmup", type=click.IntRange(0, 10**15), default=0, show_default=True,
              help="First simulated and not counted: so many accesses of a trace, calls of a workload.")  # fmt: skip
@click.option("--calls", type=click.IntRange(1, 10**6), default=1, show_default=True,
              help="Calls of a workload that are counted, each with fresh tokens.")  # fmt: skip
@_FORMAT
@_JSON
@_options(HierarchyOptions, _HIERARCHY_OPTIONS)
@_options(WorkloadOptions, _WORKLOAD_OPTIONS)
def run(hardware: HierarchyOptions, given: WorkloadOptions, source: str | None, cores: int | None, warmup: int, calls: int,
        form: str | None, json_file: Path | None) -> None:  # fmt: skip
    """Hits and misses of every cache level: of a trace FILE, or of the addresses of a WORKLOAD's schedule."""
    from simulator import tracetables
    from simulator.addresses import stream_name
    from simulator.addresstasks import STREAMS
    from simulator.tracerecords import TRACE_RECORD_VERSION, hierarchy_record, run_record
    from simulator.tracerun import KIND_NAMES, TraceRun

    _one_source(source, given)
    machine = _machine(hardware, given)
    found: FileSource | WorkloadSource
    names: tuple[str, ...]
    if source is not None:
        found, count, names = FileSource(source, form), cores or 1, ()
        pages: int | None = PAGE_SIZES["4KiB"]
    else:
        found, count = given.source(machine, calls, warmup), given.threads
        names, pages = tuple(stream_name(k) for k in range(len(STREAMS))), int(found.workload.page_bytes)
    hierarchy, fetches = hardware.hierarchy(machine, count, pages, given.seed), hardware.instruction_geometry()
    try:
        # a workload's warm-up ends with a call, whatever that has of accesses
        run = TraceRun(hierarchy, fetches, warmup if source is not None else _ENDLESS * (warmup > 0))
    except ValueError as error:
        fail(str(error), code=2)

    def feed(call: int, chunk: TraceChunk) -> None:
        if source is None and call >= warmup and run.warming:
            run.end_warmup()
        run.feed(chunk)

    complete = _consume(found, feed)
    if complete and (run.warming or 0 < run.warmup == run.fed):
        fail(f"--warmup {warmup}: the trace has {run.fed:,} accesses, none is left to count")
    if run.warming:
        run.end_warmup()
    counts = run.counts()
    names = names if run.names_streams else KIND_NAMES
    record = {
        "trace_record_version": TRACE_RECORD_VERSION,
        "partial": not complete,
        "source": found.record(),
        "hierarchy": hierarchy_record(hierarchy, "" if machine is None else machine.name, fetches),
        **run_record(counts, names, fetches is not None),
    }
    if json_file is not None:
        write_json(json_file, record)
    shown = [tracetables.hierarchy_text(record["hierarchy"]), _counted(record), tracetables.levels(record)]
    if record["streams"]:
        shown.append(tracetables.streams(record))
    _finish([*shown, *tracetables.notes(record)], complete)


_OF_FILES = {"cores": "--cores", "form": "--format"}
_OF_WORKLOADS = {"batch": "--batch", "threads": "--threads", "layers": "--layers", "residency": "--residency",
                 "schedule": "--schedule", "calls": "--calls"}  # fmt: skip


def _one_source(source: str | None, given: WorkloadOptions) -> None:
    """A file or a workload, and no option of the other."""
    if (source is None) == (given.workload is None):
        fail("name one source: a trace FILE, or --workload", code=2)
    context = click.get_current_context()
    what, others = ("a workload", _OF_FILES) if source is None else ("a trace file", _OF_WORKLOADS)
    for name, option in others.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            fail(f"{option} does not go with {what}", code=2)
    if source is not None and given.task().overrides()[1]:
        fail("--set workload.PATH does not go with a trace file", code=2)


def _machine(hardware: HierarchyOptions, given: WorkloadOptions) -> Machine | None:
    if hardware.caches and hardware.machine is not None:
        fail("--cache and --machine exclude each other", code=2)
    if hardware.caches:
        if hardware.page_size is not None:
            fail("--page-size: a geometry of --cache has no TLB; name a CPU", code=2)
        if settings := given.task().overrides()[0]:
            fail(f"--set {next(iter(settings))}: --cache leaves no spec to change", code=2)
        return None
    return given.task().machine(hardware.machine or "host")


def _counted(record: dict[str, Any]) -> str:
    source = record["source"]
    if "file" in source:
        what = f"{source['file']} ({source['format']})"
    else:
        what = (f"{source['workload']}, {source['batch']} tokens a call, layers: {source['layers']}, threads:"
                f" {source['threads']}, {source['schedule']}")  # fmt: skip
    warm = f", after {record['warmup_accesses']:,} of warm-up" if record["warmup_accesses"] else ""
    return f"{what}: {record['accesses']:,} accesses{warm}"


def _consume(source: Any, feed: Callable[[int, Any], None]) -> bool:
    """Feeds all chunks; False if Ctrl-C ended it, after a whole chunk."""
    progress = _Progress()
    with _interruptible() as interrupted:
        try:
            for call, chunk in source.chunks():
                try:
                    feed(call, chunk)
                except ValueError as error:
                    fail(f"{source.record().get('file', 'workload')}: {error}")
                progress.more(len(chunk))
                if interrupted():
                    return False
        finally:
            progress.end()
    return True


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Within, the first Ctrl-C is only noted; the second one interrupts at once."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)


class _Progress:
    """Accesses so far on stderr, if that is a terminal."""

    def __init__(self) -> None:
        self.count, self.started = 0, time.monotonic()
        self.shown = 0.0 if sys.stderr.isatty() else float("inf")

    def more(self, count: int) -> None:
        """`count` more were simulated."""
        self.count += count
        seconds = time.monotonic() - self.started
        if seconds - self.shown > _PROGRESS_SECONDS:
            self.shown = seconds
            click.echo(
                f"\r{self.count / 1e6:,.1f} M accesses, {self.count / 1e6 / seconds:.1f} M/s ", err=True, nl=False
            )

    def end(self) -> None:
        """Wipes the line."""
        if 0.0 < self.shown < float("inf"):
            click.echo("\r\x1b[K", err=True, nl=False)


def _finish(shown: list[Any], complete: bool) -> None:
    screen = console()
    for item in shown:
        screen.print(item)
    if not complete:
        sys.stdout.flush()
        raise Failure("interrupted: the counts are partial, they end where the trace was stopped", INTERRUPTED)


@trace.command()
@click.argument("source", metavar="FILE|-")
@click.option("--line-size", type=click.IntRange(8, 4096), default=64, show_default=True, help="Bytes of a line.")
@_FORMAT
@_JSON
def stats(source: str, line_size: int, form: str | None, json_file: Path | None) -> None:
    """Kinds of access, footprint, strides and reuse distances of a trace FILE."""
    from simulator import tracetables
    from simulator.tracerecords import TRACE_RECORD_VERSION, statistics_record
    from simulator.tracestats import TraceCounter

    found = FileSource(source, form)
    try:
        counter = TraceCounter(line_size)
    except ValueError as error:
        fail(f"--line-size: {error}", code=2)
    complete = _consume(found, lambda _, chunk: counter.feed(chunk))
    record = {
        "trace_record_version": TRACE_RECORD_VERSION,
        "partial": not complete,
        "source": found.record(),
        **statistics_record(counter.statistics()),
    }
    if json_file is not None:
        write_json(json_file, record)
    _finish(tracetables.statistics(record), complete)


@trace.command()
@click.argument("source", required=False, metavar="[FILE|-]")
@click.option("--output", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.npz")
@click.option(
    "--machine", "--cpu", "-m", default=None, metavar="ID|FILE", help="CPU whose best schedule a workload gets."
)
@click.option("--calls", type=click.IntRange(1, 10**6), default=1, show_default=True, help="Calls of a workload.")
@_FORMAT
@_options(WorkloadOptions, _WORKLOAD_OPTIONS)
def export(
    given: WorkloadOptions, source: str | None, output: Path, machine: str | None, calls: int, form: str | None
) -> None:
    """Writes a trace FILE, or the addresses of a WORKLOAD's schedule, as NPZ."""
    from simulator.tracenpz import write_npz

    _one_source(source, given)
    found: FileSource | WorkloadSource
    if source is not None:
        found = FileSource(source, form)
    else:
        found = given.source(None if machine is None else given.task().machine(machine), calls)
    with written(output, "--output") as stream:
        count = write_npz(stream, (chunk for _, chunk in found.chunks()))
    size = f", {output.stat().st_size:,} bytes" if output.is_file() else ""
    click.echo(f"{output}: {count:,} accesses{size}")
