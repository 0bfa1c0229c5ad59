"""`lookupsim spec`: check, show, list, diff and detect machine descriptions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from simulator.cli_common import console, fail, write_json

_JSON = click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")


def _table(*columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "status", "value", "from"))
    return table


@click.group()
def spec() -> None:
    """CPU specs: YAML files in hardware_specs/ or your own."""


@spec.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_JSON
def check(files: tuple[str, ...], json_file: Path | None) -> None:
    """Reports every fault and warning of each file; exit 1 if one has a fault."""
    from simulator.specfile import check_file

    broken, records = False, []
    for name in files:
        reading = check_file(name)
        base_only = reading.machine is None and all(f.field == "abstract" for f in reading.faults)
        for fault in () if base_only else reading.faults:
            click.echo(str(fault), err=True)
        for warning in reading.warnings:
            click.echo(f"{warning} [warning]", err=True)
        state = "an abstract base, fields are well formed" if base_only else "ok" if reading.machine else "broken"
        click.echo(f"{name}: {state}" + (f", {len(reading.warnings)} warnings" if reading.warnings else ""))
        broken |= not base_only and reading.machine is None
        faults = [] if base_only else [asdict(f) for f in reading.faults]
        records.append(
            {"file": name, "ok": not faults, "faults": faults, "warnings": [asdict(w) for w in reading.warnings]}
        )
    if json_file is not None:
        write_json(json_file, {"files": records})
    if broken:
        raise click.exceptions.Exit(1)


@spec.command()
@click.argument("machine", metavar="ID|FILE")
@click.option("--yaml", "as_yaml", is_flag=True, help="The flat spec, bases merged in.")
@_JSON
def show(machine: str, as_yaml: bool, json_file: Path | None) -> None:
    """Every value with its provenance and source."""
    from simulator.specdump import dump_machine, values
    from simulator.specfile import load_machine

    cpu = load_machine(machine)
    rows = values(cpu)
    if json_file is not None:
        write_json(json_file, {"machine": cpu.id, "values": [asdict(row) for row in rows]})
    if as_yaml:
        click.echo(dump_machine(cpu), nl=False)
        return
    sources: dict[str, int] = {}
    table = _table("value", "", "from", "source")
    for row in rows:
        given = row.provenance
        if given is None:
            table.add_row(row.path, row.text, "", "")
            continue
        source = f"{given.source} ({given.note})" if given.note else given.source
        number = sources.setdefault(source, len(sources) + 1)
        table.add_row(row.path, row.text, f"{given.kind} +-{given.interval:.0%}", f"[{number}]")
    out = console()
    out.print(table)
    notes = _table("", "source")
    for source, number in sources.items():
        notes.add_row(f"[{number}]", source)
    out.print(notes)


@spec.command("list")
@_JSON
def list_(json_file: Path | None) -> None:
    """The shipped machines: cores a socket, MiB of L2 a core and L3 a socket, memory GB/s."""
    from simulator.specfile import available_machines, load_machine
    from simulator.yamlfile import SpecFileError

    table = _table("id", "cores", "isa", "L2", "L3", "GB/s", "status")
    records, faults = [], []
    for name in available_machines():
        try:
            cpu = load_machine(name)
        except SpecFileError as error:
            faults.append(str(error))
            table.add_row(name, "", "", "", "", "", "broken")
            continue
        last = cpu.caches.L3
        mib = 2.0**20
        l3 = 0.0 if last is None else last.size_bytes * cpu.cores_per_socket / last.cores_per_instance / mib
        isa = (
            "amx"
            if cpu.core.matrix
            else cpu.isa[-1]
            if "neon" in cpu.isa
            else "avx512"
            if "avx512" in cpu.isa
            else cpu.isa[0]
        )
        peak = cpu.memory.bandwidth_bytes_per_second / 1e9
        record = {
            "id": name,
            "name": cpu.name,
            "cores_per_socket": cpu.cores_per_socket,
            "isa": list(cpu.isa),
            "l2_bytes_per_core": cpu.caches.L2.size_bytes / cpu.caches.L2.cores_per_instance,
            "l3_bytes_per_socket": l3 * mib,
            "memory_bandwidth_bytes_per_second": peak * 1e9,
            "status": cpu.status,
        }
        records.append(record)
        table.add_row(
            name,
            f"{cpu.cores_per_socket:g}",
            isa,
            f"{cpu.caches.L2.size_bytes / mib:g}",
            f"{l3:g}",
            f"{peak:.0f}",
            cpu.status,
        )
    if json_file is not None:
        write_json(json_file, {"machines": records})
    console().print(table)
    click.echo("\nL2: MiB a core. L3: MiB a socket. GB/s: peak of the memory of a socket.")
    if faults:
        fail("\n".join(faults))


@spec.command()
@click.argument("a", metavar="ID|FILE")
@click.argument("b", metavar="ID|FILE")
@_JSON
def diff(a: str, b: str, json_file: Path | None) -> None:
    """The values that differ between two machines."""
    from simulator.specdump import differences
    from simulator.specfile import load_machine

    left, right = load_machine(a), load_machine(b)
    rows = differences(left, right)
    if json_file is not None:
        write_json(
            json_file,
            {"a": left.id, "b": right.id, "differences": [row._asdict() for row in rows]},
        )
    if not rows:
        click.echo(f"{a} and {b} are the same machine")
        return
    table = _table("value", left.id, right.id, "ratio")
    for row in rows:
        table.add_row(row.path, row.a, row.b, "" if row.ratio is None else f"{row.ratio:.3g}")
    console().print(table)


@spec.command()
def detect() -> None:
    """A spec of this host as YAML on stdout; what cannot be read is marked estimated, with the reason."""
    from kernels.host import HostError
    from kernels.hostspec import detect_spec

    try:
        click.echo(detect_spec(), nl=False)
    except HostError as error:
        fail(f"spec detect: {error}")
