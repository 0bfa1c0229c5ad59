"""`lookupsim workload`: the shipped workloads and what one consists of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simulator.cli_common import console, write_json

_JSON = click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")


@click.group()
def workload() -> None:
    """Workloads: YAML files in workloads/, your own, or a Hugging Face config.json."""


@workload.command("list")
@_JSON
def list_(json_file: Path | None) -> None:
    """The shipped workloads; MFLOP are a token and layer."""
    from rich import box
    from rich.table import Table

    from simulator.tables import number, size
    from simulator.workload import GemmFfn, flop_per_token, model_bytes
    from simulator.workloadfile import available_workloads, load_workload

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("id", "form", "shape", "layers", "MFLOP", "model"):
        table.add_column(column, justify="left" if column in ("id", "form", "shape") else "right", no_wrap=True)
    records = []
    for name in available_workloads():
        item = load_workload(name)
        op = item.operator
        if isinstance(op, GemmFfn):
            shape, form = f"{op.hidden:g}-{op.intermediate:g}{' gated' if op.gated else ''}", "GEMM"
        else:
            shape, form = f"{op.tables:g}x{op.rows:g}x{op.output:g} {op.projection}", "LUT"
        flop, total = float(flop_per_token(op)), float(model_bytes(item))
        table.add_row(name, form, shape, f"{item.layers:g}", number(flop / 1e6), size(total))
        records.append({"id": name, "form": form, "shape": shape, "layers": item.layers, "flop_per_token_layer": flop,
                        "model_bytes": total, "verified": item.verified})  # fmt: skip
    if json_file is not None:
        write_json(json_file, {"workloads": records})
    console().print(table)


@workload.command()
@click.argument("reference", metavar="ID|FILE")
@_JSON
def show(reference: str, json_file: Path | None) -> None:
    """Shape, FLOP, parameters and bytes of one workload."""
    from dataclasses import asdict

    from simulator.tables import size
    from simulator.workload import (
        LookupFfn,
        exps_per_token,
        flop_breakdown,
        flop_per_token,
        model_bytes,
        parameters,
        table_bytes,
        weight_bytes,
    )
    from simulator.workloadfile import load_workload

    item = load_workload(reference)
    op = item.operator
    facts: dict[str, Any] = {
        "flop_per_token_layer": float(flop_per_token(op)),
        "flop_breakdown": {key: float(value) for key, value in flop_breakdown(op).items()},
        "exponentials_per_token_layer": float(exps_per_token(op)),
        "parameters_per_layer": float(parameters(op)),
        "weight_bytes_per_layer": float(weight_bytes(op)),
        "table_bytes_per_layer": float(table_bytes(op)) if isinstance(op, LookupFfn) else 0.0,
        "model_bytes": float(model_bytes(item)),
    }
    if json_file is not None:
        write_json(json_file, {"workload": asdict(item), **facts})
    click.echo(f"{item.name} ({item.id or reference}), {item.layers:g} layers")
    click.echo(f"  source: {item.source}{'' if item.verified else ' (not verified)'}")
    for key, value in asdict(op).items():
        click.echo(f"  {key}: {value:g}" if isinstance(value, float) else f"  {key}: {value}")
    for key, value in facts.items():
        if isinstance(value, dict):
            click.echo(f"  {key}: " + ", ".join(f"{part} {number:,.0f}" for part, number in value.items()))
        else:
            click.echo(f"  {key}: {size(value) if 'bytes' in key else f'{value:,.0f}'}")
