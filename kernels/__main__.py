"""`python -m kernels`: build, list and run the compiled kernels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from simulator.cli_common import run_program

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
@click.argument(
    "operator",
    type=click.Choice(["layer_norm", "bh4", "dense", "code_score", "gather", "lookup_ffn", "published", "gemm"]),
)
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
@click.option(
    "--variant", type=click.Choice(["v1", "v2", "v3", "v4", "v5"]), default=None, help="Loop nest.  [default: by batch]"
)
@click.option("--scales", default=None, metavar="table|row|N",
              help="Rows that share a scale of an int8 table: all, one or N.  [default: table]")  # fmt: skip
@click.option("--intermediate", type=click.IntRange(1, 1 << 16), default=2048, show_default=True, help="h of gemm.")
@click.option("--library", "gemm_library", type=click.Choice(["onednn", "openblas"]), default="onednn", show_default=True,
              help="Of gemm.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--isa", default=None,
              help="Pins the instruction set; an operator without it takes the next lower.  [default: the best]")  # fmt: skip
@click.option("--stripe", type=click.IntRange(64, 16384), default=None, metavar="COLUMNS",
              help="Columns a stripe, a multiple of 64; all of them: the plain layout.  [default: by dtype]")  # fmt: skip
@click.option(
    "--page-size", type=click.Choice(["4KiB", "2MiB"]), default="2MiB", show_default=True, help="Of the tables."
)
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
@click.argument("what", type=click.Choice(["memory", "peak", "sharing", "stages"]), required=False)
@click.option("--compare", is_flag=True, help="Look-up against GEMM, every pair of precisions, interleaved (minutes).")
@click.option("--batches", default="1,8,64,512,4096", show_default=True, help="Tokens a call, for --compare.")
@click.option("--threads", default="1,2", show_default=True, help="Threads, for --compare.")
@click.option("--resume", is_flag=True, help="Goes on with the run that --json FILE holds.")
@click.option("--quick", is_flag=True, help="Fewer points or rounds.")
@_JSON
def bench(
    what: str | None, compare: bool, batches: str, threads: str, resume: bool, quick: bool, json_file: Path | None
) -> None:
    """Microbenchmarks (memory, peak, sharing), stages of the layer against their bounds, or look-up against GEMM (--compare)."""
    from simulator.cli_common import fail

    if compare == (what is not None):
        fail("bench: give one of memory, peak, sharing, stages and --compare", 2)
    if compare:
        _compare(_numbers("batches", batches), _numbers("threads", threads), resume, quick, json_file)
    else:
        _microbenchmarks(what or "", quick, json_file)


def _numbers(name: str, text: str) -> list[int]:
    from simulator.cli_common import fail

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and 0 < int(part) <= 1 << 20 for part in parts):
        fail(f"--{name}: whole numbers from 1 to {1 << 20}, separated by commas, got '{text}'", 2)
    return list(dict.fromkeys(int(part) for part in parts))


def _compare(batches: list[int], threads: list[int], resume: bool, quick: bool, json_file: Path | None) -> None:
    from kernels import comparerun
    from kernels.build import BuildError
    from kernels.compare import Shape
    from kernels.comparetables import comparison_tables
    from kernels.library import KernelError
    from kernels.timing import usable_cpus
    from simulator.cli_common import console, fail, write_json

    if max(threads) > len(usable_cpus()):
        threads = [n for n in threads if n <= len(usable_cpus())] or [1]
        click.echo(f"bench: this host has {len(usable_cpus())} CPU(s) to pin threads to", err=True)
    note = Progress()
    shape = Shape()
    try:
        before = (
            comparerun.earlier(json_file, comparerun.settings_of(shape, batches, threads, quick)) if resume else None
        )
        record = comparerun.run(shape, batches, threads, quick=quick, note=note, before=before,
                                keep=lambda r: write_json(json_file, r) if json_file is not None else None)  # fmt: skip
    except (BuildError, KernelError, comparerun.ResumeError) as error:
        note.end()
        fail(f"bench --compare: {error}")
    note.end()
    screen = console()
    for table in comparison_tables(record):
        screen.print(table)
    click.echo(f"\n{record['elapsed_seconds']:.0f} s; clock {record['clock_hertz_before']['median'] / 1e9:.2f} to "
               f"{record['clock_hertz_after']['median'] / 1e9:.2f} GHz; {_libraries(record)}; {record['compiler']}")  # fmt: skip


def _libraries(record: dict[str, Any]) -> str:
    return ", ".join(f"{used['name']} {used['version']} ({used['core_type']})" for used in record["libraries"])


class Progress:
    """What goes on, on one line of a terminal; a line each elsewhere."""

    def __call__(self, text: str) -> None:
        """Shows `text` in place of what was shown before."""
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[2K{text}", nl=False, err=True)
        elif text.startswith("group "):
            click.echo(text, err=True)

    def end(self) -> None:
        """Clears the line."""
        if sys.stderr.isatty():
            click.echo("\r\x1b[2K", nl=False, err=True)


def _microbenchmarks(what: str, quick: bool, json_file: Path | None) -> None:
    from kernels.build import BuildError
    from kernels.library import KernelError
    from kernels.peak import peak_probes
    from kernels.probe import PORT_BOUND_SHARE, memory_probes
    from kernels.probetables import memory_tables, peak_tables, sharing_tables, stage_tables
    from kernels.sharing import sharing_probes
    from kernels.stages import stage_benchmarks
    from simulator.cli_common import console, fail, write_json

    try:
        if what == "memory":
            record, tables = memory_probes(quick=quick), memory_tables
        elif what == "peak":
            record, tables = peak_probes(), peak_tables
        elif what == "sharing":
            record, tables = sharing_probes(quick=quick), sharing_tables
        else:
            record, tables = stage_benchmarks(rounds=7 if quick else 21), stage_tables
    except (BuildError, KernelError) as error:
        fail(f"bench {what}: {error}")
    screen = console()
    for table in tables(record):
        screen.print(table)
    clock = record["clock_hertz_before" if what == "memory" else "clock_hertz"]
    click.echo(
        f"\nclock {clock['median'] / 1e9:.2f} GHz (chain of dependent additions); {record['elapsed_seconds']:.1f} s"
    )
    if not record.get("port_bound_reached", True):
        click.echo(
            f"these figures are not to be believed: a sequential read from L1 reached {record['bytes_per_cycle']:.0f} bytes a "
            f"cycle, independent loads {record['needed_bytes_per_cycle'] / PORT_BOUND_SHARE:.0f}; was the machine busy?"
        )
    for symbol, reason in record.get("missing", {}).items():
        click.echo(f"{symbol}: {reason}")
    if json_file is not None:
        write_json(json_file, record)


@kernels.command()
@click.option("--measure", is_flag=True, help="Instead: times the stages and instructions of this host, from L1.")
@_JSON
def incore(measure: bool, json_file: Path | None) -> None:
    """Hot loops through llvm-mca for every target, and the in-core model held to what is trusted."""
    from kernels import incore as marked
    from kernels import incore_measure, incore_tables
    from kernels.build import BuildError
    from kernels.host import HostError
    from kernels.incore_errors import every_comparison
    from kernels.incore_mca import McaError
    from kernels.incore_trust import DataError, throughputs
    from kernels.library import KernelError
    from simulator.cli_common import console, fail, write_json

    screen = console()
    try:
        if measure:
            record = incore_measure.measure()
            screen.print(incore_tables.measured_table(record))
        else:
            record, data, measured = marked.collect(), throughputs(), marked.load_measured()
            compared = every_comparison(record, data, measured)
            for table in incore_tables.incore_tables(record, data, measured, compared):
                screen.print(table)
    except (BuildError, DataError, HostError, KernelError, McaError) as error:
        fail(f"incore: {error}")
    for text in record["missing"] if isinstance(record["missing"], list) else record["missing"].values():
        click.echo(f"missing: {text}")
    if json_file is not None:
        write_json(json_file, record)


def main() -> None:
    """Entry point: expected faults are one message and an exit code."""
    run_program(kernels, "kernels")


if __name__ == "__main__":
    main()
