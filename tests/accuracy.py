"""Uncalibrated predictions for the recorded Zen 5 host beside what was measured there: `python -m tests.accuracy`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml

from kernels.host import observe
from kernels.hostspec import detect_spec
from simulator.cli_common import console, write_json
from simulator.machine import Machine
from simulator.predict import predict
from simulator.specfile import load_machine_text
from simulator.workload import LookupFfn, Workload, with_dtype
from simulator.workloadfile import load_workload

HERE = Path(__file__).parent
MEASURED = HERE / "data" / "zen5-vm-ffn.yaml"
HOST = HERE / "hosts" / "amd-epyc-turin-vm"


@dataclass(frozen=True)
class Point:
    """One measured case; times are microseconds a token and layer, without LayerNorm."""

    form: str
    dtype: str
    residency: str
    batch: float
    measured_us: float
    predicted_us: float

    @property
    def error(self) -> float:
        """Predicted over measured, minus 1."""
        return self.predicted_us / self.measured_us - 1.0


def recorded_host() -> Machine:
    """The spec that `lookupsim spec detect` writes on the recorded host."""
    return load_machine_text(detect_spec(observe(HOST)), "host.yaml")


def workload(form: str, dtype: str) -> Workload:
    """RoBERTa-small's FFN in one form and dtype."""
    if form == "gemm":
        return with_dtype(load_workload("roberta-small"), dtype)  # type: ignore[arg-type]
    task = load_workload("lookupffn-t128-s8-bh4")
    assert isinstance(task.operator, LookupFfn)
    projection, table = dtype.split("/")
    return replace(task, operator=replace(task.operator, projection_dtype=projection, table_dtype=table))  # type: ignore[arg-type]


def points() -> list[Point]:
    """Every measured case with its prediction."""
    data = yaml.safe_load(MEASURED.read_text())
    cpu = recorded_host()
    found = []
    for form in ("gemm", "lookup"):
        for dtype, by_residency in data[form].items():
            for residency, times in by_residency.items():
                for batch, measured in zip(data["batches"], times, strict=True):
                    task = replace(workload(form, dtype), batch=float(batch), threads=1.0, residency=residency)
                    p = predict(cpu, task)
                    seconds = sum(phase.seconds for phase in p.phases if phase.name != "layer_norm")
                    found.append(Point(form, dtype, residency, float(batch), float(measured), seconds / batch * 1e6))
    return found


def errors(chosen: Sequence[Point]) -> dict[str, float]:
    """Mean, P95 and worst of the absolute errors."""
    values = np.abs([point.error for point in chosen])
    return {"mean": float(values.mean()), "p95": float(np.quantile(values, 0.95)), "worst": float(values.max())}


def table(found: Sequence[Point]) -> Any:
    """Predicted, measured and error of each case over the batches."""
    from rich.table import Table

    result = Table(box=None, pad_edge=False)
    batches = sorted({point.batch for point in found})
    for column in ("form", "dtype", "residency", *(f"B={batch:g}" for batch in batches)):
        result.add_column(column, no_wrap=True, justify="right" if column.startswith("B=") else "left")
    for form, dtype, residency in dict.fromkeys((p.form, p.dtype, p.residency) for p in found):
        row = [p for p in found if (p.form, p.dtype, p.residency) == (form, dtype, residency)]
        cells = [f"{p.predicted_us:.3g}/{p.measured_us:g} {p.error:+.0%}" for p in row]
        result.add_row(form, dtype, residency, *cells)
    return result


def markdown(found: Sequence[Point], batch: float) -> str:
    """The README's table: one batch, hot and whole model."""
    lines = [
        "| form | dtype | measured hot | predicted | error | measured model | predicted | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = {"gemm": "GEMM (oneDNN 3.2)", "lookup": "look-up (prototype)"}
    chosen = [p for p in found if p.batch == batch]
    for form, dtype in dict.fromkeys((p.form, p.dtype) for p in chosen):
        cells = []
        for residency in ("hot", "model"):
            p = next(p for p in chosen if (p.form, p.dtype, p.residency) == (form, dtype, residency))
            cells += [f"{p.measured_us:g}", f"{p.predicted_us:.2f}", f"{p.error:+.0%}"]
        lines.append(f"| {names[form]} | {dtype} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def main(json_file: Path | None) -> None:
    """Predicted / measured microseconds a token and layer, uncalibrated, one thread."""
    found = points()
    screen = console()
    screen.width = max(screen.width, 110)
    screen.print(table(found))
    groups = {
        "all": found,
        "gemm": [p for p in found if p.form == "gemm"],
        "lookup": [p for p in found if p.form == "lookup"],
        "B=512": [p for p in found if p.batch == 512.0],
    }
    for name, chosen in groups.items():
        e = errors(chosen)
        screen.print(f"{name}: mean {e['mean']:.1%}, P95 {e['p95']:.1%}, worst {e['worst']:.1%}, {len(chosen)} points")
    if json_file is not None:
        records = [{**asdict(p), "error": p.error} for p in found]
        summary = {name: errors(chosen) for name, chosen in groups.items()}
        write_json(json_file, {"points": records, "errors": summary})


if __name__ == "__main__":
    main()
