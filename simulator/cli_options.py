"""What `predict`, `compare` and `explain` share: their options, and how these become machines, workloads and output."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.cli_common import console, fail, write_csv, write_json

if TYPE_CHECKING:
    from simulator.machine import Machine
    from simulator.workload import Workload

DEFAULT_WORKLOAD = "lookupffn-t128-s8-bh4"
WORKLOAD_PREFIX = "workload."
MAX_VALUES = 64
MAX_MACHINES = 256


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


@dataclass(frozen=True)
class Task:
    """The common options of one command."""

    workload: str
    batch: tuple[float, ...]
    threads: tuple[Any, ...]
    residency: str | None
    settings: tuple[str, ...]
    keep_latency: bool
    layout: str
    json_file: Path | None

    def overrides(self) -> tuple[dict[str, str], dict[str, str]]:
        """`--set` as path -> value, of the machine and of the workload."""
        machine: dict[str, str] = {}
        workload: dict[str, str] = {}
        for setting in self.settings:
            path, separator, value = (part.strip() for part in setting.partition("="))
            if not separator or not path or not value:
                fail(f"--set {setting}: write PATH=VALUE, e.g. caches.L2.size=4MiB", code=2)
            if path.startswith(WORKLOAD_PREFIX):
                workload[path.removeprefix(WORKLOAD_PREFIX)] = value
            else:
                machine[path] = value
        if self.residency is not None:
            workload["residency"] = self.residency
        return machine, workload

    def machine(self, name: str) -> Machine:
        """The spec called `name`, or this host, with the overrides."""
        from simulator.specfile import load_machine, load_machine_text

        settings, scale = self.overrides()[0], not self.keep_latency
        if name != "host":
            return load_machine(name, settings, scale_latency=scale)
        from kernels.host import HostError
        from kernels.hostspec import detect_spec
        from validate.hostfacts import calibrated_spec

        try:
            calibrated = calibrated_spec()
            if calibrated is not None:
                return replace(load_machine(str(calibrated), settings, scale_latency=scale), id="host")
            text = detect_spec()
        except HostError as error:
            fail(f"host: {error}")
        return replace(load_machine_text(text, "host.yaml", settings, scale_latency=scale), id="host")

    def load(self) -> Workload:
        """The workload with the overrides."""
        from simulator.workloadfile import load_workload

        return load_workload(self.workload, self.overrides()[1])

    def pair(self) -> tuple[Workload, Workload]:
        """(GEMM, look-up) of one FFN, whichever of the two was named; overrides are those of the named one."""
        from simulator.workload import GemmFfn, derive_lookup
        from simulator.workloadfile import load_workload

        workload = self.load()
        if isinstance(workload.operator, GemmFfn):
            return workload, derive_lookup(workload)
        if not workload.dense:
            fail(f"{self.workload}: this look-up workload names no GEMM FFN that it replaces (field 'dense')")
        surroundings = {name: getattr(workload, name) for name in SURROUNDINGS}
        return replace(load_workload(workload.dense), **surroundings), workload

    def counts(self, machine: Machine) -> tuple[float, ...]:
        """Thread counts; 'all' is one full socket."""
        given = (machine.cores_per_socket if count == "all" else float(count) for count in self.threads)
        return tuple(dict.fromkeys(given))

    def emit(self, records: list[dict[str, Any]], tables: Callable[[], list[Any]]) -> None:
        """The records in the layout asked for, and as a JSON file where one is named."""
        from simulator.records import RECORD_VERSION, flat

        payload = {"record_version": RECORD_VERSION, "records": records}
        if self.json_file is not None:
            write_json(self.json_file, payload)
        if self.layout == "json":
            write_json(None, payload)
        elif self.layout == "csv":
            write_csv([flat(record) for record in records])
        else:
            screen = console()
            for table in tables():
                screen.print(table)


SURROUNDINGS = ("layers", "residency", "evicted_bytes_between_layers", "page_bytes")
"""Fields of a workload that both forms of one FFN share."""

_OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--workload", "-w", default=DEFAULT_WORKLOAD, show_default=True, metavar="ID|FILE",
                 help="Workload id, YAML file or Hugging Face config.json."),
    click.option("--batch", "-b", type=NumberList(1, 1e9), default="512", show_default=True, help="Tokens per call."),
    click.option("--threads", "-t", type=NumberList(1, 1e6, ("all",)), default="all", show_default=True,
                 help="Threads, one a physical core; 'all' is one full socket."),
    click.option("--residency", type=click.Choice(["model", "hot"]), default=None,
                 help="All layers cycled (model), or one layer repeated (hot)."),
    click.option("--set", "settings", multiple=True, metavar="PATH=VALUE",
                 help="Overrides a spec value (caches.L2.size=4MiB) or, with workload. before it, one of the workload"
                      " (workload.page_size=4KiB, workload.indices.kind=zipf)."),
    click.option("--keep-latency", is_flag=True, help="--set caches.*.size leaves the latency as it is."),
    click.option("--format", "layout", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True),
    click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                 help="Also writes the records as JSON."),
]  # fmt: skip


def task_options(function: Any) -> Any:
    """Adds the common options; they reach the command as its first argument, a Task."""

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        task = Task(**{field.name: options.pop(field.name) for field in fields(Task)})
        return function(*args, task, **options)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def machine_names(text: str) -> list[str]:
    """'host,all' -> ids, each once."""
    from simulator.specfile import available_machines

    names: list[str] = []
    for item in (part.strip() for part in text.split(",")):
        names += [*available_machines()] if item == "all" else [item] if item else []
    if not names:
        fail("--machines names no machine", code=2)
    if len(names) > MAX_MACHINES:
        fail(f"--machines: at most {MAX_MACHINES} machines, got {len(names)}", code=2)
    return list(dict.fromkeys(names))


EVENT_CHOICES = ("packet_lines", "placement", "smt", "scheduling")

_EVENT_OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--packet-lines", type=click.FloatRange(1, 64), default=None,
                 help="Event engine: lines of a packet (granularity; 4 unless given)."),
    click.option("--placement", type=click.Choice(["local", "interleaved", "first-touch"]), default=None,
                 help="Event engine: where memory lies for threads of several sockets (local)."),
    click.option("--smt", type=click.IntRange(1, 8), default=None,
                 help="Event engine: hardware threads a core that run (1)."),
    click.option("--scheduling", type=click.Choice(["static", "dynamic"]), default=None,
                 help="Event engine: work dealt out beforehand, or taken in pieces from a counter (static)."),
]  # fmt: skip


def event_options(function: Any) -> Any:
    """Adds the choices of the event engine; those given reach the command as `events`, a dict of EventOptions fields."""

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in EVENT_CHOICES}
        return function(*args, events={name: value for name, value in given.items() if value is not None}, **options)

    for option in reversed(_EVENT_OPTIONS):
        command = option(command)
    return command
