"""`python -m kernels`: build, list and run the compiled kernels."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_JSON = click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                     help="Also writes the records as JSON.")  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def kernels() -> None:
    """Compiled kernels of LookupFFN: built on first use with the system's C++ compiler."""


@kernels.command()
@click.option("--sanitize", is_flag=True, help="With the address and undefined-behaviour sanitizers.")
@_JSON
def build(sanitize: bool, json_file: Path | None) -> None:
    """Compiles every variant; one that the compiler refuses is reported and left out."""
    from kernels.build import BuildError, build_all, find_compiler, variants
    from simulator.cli_common import fail, write_json

    try:
        compiler = find_compiler()
    except BuildError as error:
        fail(str(error))
    records, built = [], 0
    for variant, result in build_all(variants(), sanitize=sanitize).items():
        refused = str(result) if isinstance(result, BuildError) else ""
        built += not refused
        click.echo(f"{variant.operator}/{variant.isa_name}: {refused or 'built'}")
        records.append({"operator": variant.operator, "isa": variant.isa_name, "built": not refused, "reason": refused})
    click.echo(f"{built} of {len(records)} variants with {compiler.version}")
    if json_file is not None:
        write_json(json_file, {"compiler": compiler.version, "variants": records})
    if not built:
        fail("no variant could be compiled")


@kernels.command("list")
@_JSON
def list_(json_file: Path | None) -> None:
    """Operators, their variants, and whether this CPU runs them."""
    from rich.table import Table

    from kernels.build import variants
    from kernels.isa import why_not
    from simulator.cli_common import console, write_json

    table = Table(box=None, pad_edge=False)
    for column in ("operator", "isa", "here"):
        table.add_column(column)
    records = []
    for variant in variants():
        reason = why_not(variant.isa)
        table.add_row(variant.operator, variant.isa_name, f"not run: {reason}" if reason else "runs")
        records.append({"operator": variant.operator, "isa": variant.isa_name, "runs": not reason, "reason": reason})
    console().print(table)
    if json_file is not None:
        write_json(json_file, {"variants": records})


@kernels.command()
@click.argument("operator", type=click.Choice(["layer_norm", "bh4", "dense", "code_score", "gather", "lookup_ffn"]))
@click.option("--batch", type=click.IntRange(1, 1 << 20), default=64, show_default=True, help="Tokens a call.")
@click.option("--hidden", type=click.IntRange(1, 4096), default=512, show_default=True, help="Inputs d.")
@click.option("--tables", type=click.IntRange(1, 4096), default=128, show_default=True)
@click.option(
    "--rows", type=click.IntRange(2, 4096), default=256, show_default=True, help="Rows of a table, a power of two."
)
@click.option("--dim", type=click.IntRange(1, 16384), default=None, help="Columns of a table.  [default: --hidden]")
@click.option("--block", type=click.IntRange(16, 4096), default=64, show_default=True, help="Block of BH4.")
@click.option(
    "--dtype", type=click.Choice(["fp32", "bf16", "int8"]), default="fp32", show_default=True, help="Of the tables."
)
@click.option("--projection", type=click.Choice(["fp32", "bf16", "int16", "int8"]), default=None,
              help="Data type of the projection.  [default: as the tables, int16 for int8]")  # fmt: skip
@click.option("--dense", is_flag=True, help="The projection is a plain matrix, not BH4.")
@click.option("--variant", type=click.Choice(["v1", "v2", "v3"]), default=None, help="Loop nest.  [default: by batch]")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--isa", default=None, help="Caps the instruction set.")
@click.option("--seed", type=int, default=0, show_default=True)
@_JSON
def run(operator: str, json_file: Path | None, **options: int | str | bool | None) -> None:
    """Runs one operator on random weights: time, rate, and error against float64."""
    from kernels.build import BuildError
    from kernels.library import KernelError
    from kernels.runner import run_operator
    from kernels.weights import ShapeError
    from simulator.cli_common import fail, write_json

    try:
        record = run_operator(operator, **options)  # type: ignore[arg-type]
    except (BuildError, KernelError, ShapeError, ValueError) as error:
        fail(f"{operator}: {error}")
    for name, value in record.items():
        click.echo(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    if json_file is not None:
        write_json(json_file, {"records": [record]})


@kernels.command()
@click.argument("what", type=click.Choice(["memory", "peak"]))
@click.option("--quick", is_flag=True, help="Fewer points, about 10 s (memory).")
@_JSON
def bench(what: str, quick: bool, json_file: Path | None) -> None:
    """Microbenchmarks of this CPU: caches and memory, or instruction throughput, latency and threads."""
    from kernels.build import BuildError
    from kernels.library import KernelError
    from kernels.peak import peak_probes
    from kernels.probe import memory_probes
    from kernels.probetables import memory_tables, peak_tables
    from simulator.cli_common import console, fail, write_json

    try:
        record = memory_probes(quick=quick) if what == "memory" else peak_probes()
    except (BuildError, KernelError) as error:
        fail(f"bench {what}: {error}")
    screen = console()
    for table in memory_tables(record) if what == "memory" else peak_tables(record):
        screen.print(table)
    clock = record["clock_hertz_before" if what == "memory" else "clock_hertz"]
    click.echo(
        f"\nclock {clock['median'] / 1e9:.2f} GHz (chain of dependent additions); {record['elapsed_seconds']:.1f} s"
    )
    for symbol, reason in record.get("missing", {}).items():
        click.echo(f"{symbol}: {reason}")
    if json_file is not None:
        write_json(json_file, record)


def main() -> None:
    """Entry point: expected faults are one message and an exit code."""
    try:
        kernels(standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
