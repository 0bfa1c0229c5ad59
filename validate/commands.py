"""What the commands of `python -m validate` do: files in, tables and files out, every fault one message."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from simulator.cli_common import console, fail, write_bytes, write_json
from simulator.specfile import SPEC_FOLDER
from simulator.yamlfile import SpecFileError
from validate import tables
from validate.check import check as checked
from validate.check import record
from validate.journal import JournalError, is_unfinished, read

Line = dict[str, Any]

CALIBRATED = SPEC_FOLDER / "calibrated"
RECORDED = Path(__file__).with_name("measurements")


@contextlib.contextmanager
def faults(command: str) -> Iterator[None]:
    """Expected faults end the program with one message."""
    from kernels.build import BuildError
    from kernels.host import HostError
    from kernels.library import KernelError
    from validate.points import PointError

    try:
        yield
    except (JournalError, KernelError, BuildError, HostError, PointError, SpecFileError, ValueError) as error:
        fail(f"{command}: {error}")
    except OSError as error:
        fail(f"{command}: {error.filename}: {error.strerror}" if error.filename else f"{command}: {error.strerror}")
    except MemoryError:
        fail(f"{command}: not enough memory for the largest tables (about 1 GiB is used)")


def everything(
    quick: bool, seed: int | None, output: Path, json_file: Path | None, max_error: float | None, keep_spec: bool
) -> None:
    """All steps, from detection to the report."""
    start = time.monotonic()
    path = measure(quick, seed, output)
    measured = time.monotonic() - start
    with faults("validate"):
        found = record(checked(read(path)), {"measure": measured, "total": time.monotonic() - start})
    if not keep_spec:
        write_spec(path, output)
    show(found)
    if json_file is not None:
        write_json(json_file, found)
    write_report(found, output)
    click.echo(f"campaign: {path}; {time.monotonic() - start:.0f} s")
    judge(found, max_error)


def measure(quick: bool, seed: int | None, output: Path) -> Path:
    """Runs or goes on with a campaign; returns its file."""
    from validate.campaign import EXPECTED_SECONDS, Campaign
    from validate.freeze import frozen
    from validate.hostfacts import usable_cpus
    from validate.progress import Progress

    mode = "quick" if quick else "full"
    note = Progress(EXPECTED_SECONDS[mode])
    with faults("measure"):
        cpus = usable_cpus()
        try:
            campaign = Campaign.begin(output, mode, seed, cpus, note)
            campaign.run(frozen)
        finally:
            note.end()
        if len(cpus) == 1:
            click.echo(
                "one core only: what cores share, and barriers, cannot be measured and stay as the spec has them",
                err=True,
            )
        if not campaign.first["huge_pages"]:
            click.echo(
                "no 2 MiB pages on this system: everything was measured, and is predicted, on 4 KiB ones", err=True
            )
        for library in ("onednn", "openblas"):
            if library not in campaign.first["host"]["libraries"]:
                click.echo(f"{library} is not here: its GEMM was left out (pip install 'lookupsim[gemm]')", err=True)
    return campaign.journal.path


def newest(output: Path) -> Path:
    """The newest finished campaign of a folder."""
    found = sorted(output.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not found:
        fail(f"{output}: no campaign here; 'python -m validate measure' makes one")
    with faults("validate"):
        return next((path for path in found if not is_unfinished(path)), found[0])


def detect(json_file: Path | None) -> None:
    """Host facts, and the spec that the host is described from."""
    from kernels.build import BuildError
    from kernels.host import observe
    from kernels.hostmatch import match
    from kernels.library import KernelError
    from validate.hostfacts import calibrated_spec, host_facts, host_id, usable_cpus
    from validate.probing import clock, huge_pages

    with faults("detect"):
        facts = host_facts(usable_cpus())
        matched = match(observe())
        calibrated = calibrated_spec(CALIBRATED)
        extra: Line = {"clock_hz": None, "huge_pages": None}
        try:
            extra = {"clock_hz": clock(usable_cpus()[:1]), "huge_pages": huge_pages()}
        except (KernelError, BuildError) as error:
            click.echo(f"detect: the clock and large pages are not measured: {error}", err=True)
    click.echo(f"host: {host_id(facts)}")
    for name, value in {**facts, **extra}.items():
        if name == "caches":
            value = ", ".join(f"L{c['level']} {c['size_bytes'] >> 10} KiB of {c['cpus']} CPUs" for c in value)
        elif name == "libraries":
            value = ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
        elif name == "clock_hz":
            value = f"{value / 1e9:.2f} GHz measured" if value else "not measured"
        elif value is None:
            value = "none" if name == "cpu_quota" else "not known"
        click.echo(f"{name}: {value}")
    click.echo(f"described from: {matched.base_id} (confidence {matched.confidence}: {matched.reason})")
    click.echo(f"calibrated spec: {calibrated or 'none yet'}")
    if json_file is not None:
        write_json(json_file, {"host_id": host_id(facts), "measured_host": {**facts, **extra},
                               "base": matched.base_id, "confidence": matched.confidence})  # fmt: skip


def calibrate(path: Path, spec: Path | None, json_file: Path | None) -> None:
    """The parameters of a campaign, and its spec."""
    from validate.calibration import calibrated
    from validate.freeze import parameters, spec_text

    with faults("calibrate"):
        lines = read(path, unfinished=True)
        found = calibrated(lines)
        records = parameters(found)
    console().print(tables.parameter_table(records))
    for reason in (*found.memory.refused, *found.gemm.refused):
        click.echo(f"not told by any probe: {reason}")
    click.echo(f"memory probes: mean residual {found.memory.mean_residual:.1%}")
    target = spec or CALIBRATED / f"{lines[0]['host_id']}.yaml"
    with faults("calibrate"):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, spec_text(found, lines).encode(), "--spec")
    click.echo(f"spec: {target}")
    if json_file is not None:
        write_json(json_file, {"host_id": lines[0]["host_id"], "parameters": records,
                               "refused": [*found.memory.refused, *found.gemm.refused]})  # fmt: skip


def write_spec(path: Path, output: Path) -> None:
    """The frozen calibrated spec into the folder where `lookupsim` finds it; into `output` where that cannot be written."""
    with faults("validate"):
        lines = read(path)
    text = next(line["spec"] for line in reversed(lines) if line["record"] == "calibrated")
    target = CALIBRATED / f"{lines[0]['host_id']}.yaml"
    try:
        CALIBRATED.mkdir(parents=True, exist_ok=True)
        write_bytes(target, text.encode(), "calibrated spec")
    except (OSError, click.ClickException):
        target = output / target.name
        write_bytes(target, text.encode(), "calibrated spec")
        click.echo(
            f"{CALIBRATED} cannot be written: lookupsim will not find the spec by itself (-m {target})", err=True
        )
    click.echo(f"calibrated spec: {target}")


def check(path: Path, again: bool, json_file: Path | None, max_error: float | None) -> None:
    """One campaign."""
    with faults("check"):
        found = record(checked(read(path), again))
    show(found)
    if json_file is not None:
        write_json(json_file, found)
    judge(found, max_error)


def check_recorded(json_file: Path | None, max_error: float | None) -> None:
    """Every recorded campaign with the model as it is now, each by itself and all together."""
    from validate.pooled import pooled

    paths = sorted(RECORDED.glob("*/*.jsonl"))
    if not paths:
        fail(f"check: {RECORDED}: no recorded campaigns")
    checks = []
    for path in paths:
        with faults("check"):
            checks.append(checked(read(path), again=True))
        errors = record(checks[-1])["errors"]
        click.echo(
            f"{path.parent.name}/{path.name}: {errors['points']} points, mean |error| {errors['mean_abs_error']:.1%}, P95 "
            f"{errors['p95_abs_error']:.0%}, whole FFN {errors['whole_ffn']['mean_abs_error']:.1%}"
        )
    found = pooled(checks)
    click.echo("")
    console().print(tables.error_table(found))
    console().print(tables.before_table(found))
    click.echo("")
    for line in (tables.goal_line(found), *tables.winner_lines(found)):
        if line:
            click.echo(line)
    if json_file is not None:
        write_json(json_file, found)
    judge(found, max_error)


def check_workload(workload: Path, campaign: Path, json_file: Path | None, max_error: float | None) -> None:
    """A user's own workload, measured now, by the calibration of a campaign."""
    from validate.own import own_check

    with faults("check"):
        found = record(own_check(workload, read(campaign, unfinished=True)))
    for p in found["points"]:
        click.echo(
            f"{p['label']}: measured {p['measured_seconds'] * 1e6:.4g} us (noise {100 * p['noise_floor']:.1f} %), predicted "
            f"{p['predicted_seconds'] * 1e6:.4g} us [{p['interval_low_seconds'] * 1e6:.4g}, "
            f"{p['interval_high_seconds'] * 1e6:.4g}], error {100 * p['error']:+.1f} %"
        )
    if json_file is not None:
        write_json(json_file, found)
    judge(found, max_error)


def show(found: Line) -> None:
    """The tables of a check."""
    screen = console()
    screen.print(tables.error_table(found))
    screen.print(tables.before_table(found))
    click.echo("")
    for line in (tables.goal_line(found), *tables.winner_lines(found)):
        if line:
            click.echo(line)
    click.echo("\nthe worst five:")
    for line in tables.worst_lines(found):
        click.echo(f"  {line}")
    c = found["conditions"]
    when = found["predictions_frozen"]
    frozen = (
        f"predictions were frozen {when}, before the held-out rounds"
        if when
        else "predicted anew by this version of the model"
    )
    drift = f"{c['drifted_rounds']} of {c['rounds']} rounds drifted, {c['repeated_rounds']} of them were repeated"
    click.echo(f"\nseed {found['seed']}, {found['mode']}, measured {found['started']}; {frozen}; {drift}")


def write_report(found: Line, output: Path) -> None:
    """report.html and report.md of a check."""
    from validate.report import html, markdown

    with faults("report"):
        output.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.html", html(found)), ("report.md", markdown(found))):
        write_bytes(output / name, text.encode(), "report")
    click.echo(f"report: {output / 'report.html'}, {output / 'report.md'}")


def report(path: Path, output: Path) -> None:
    """The report of a campaign."""
    with faults("report"):
        found = record(checked(read(path)))
    write_report(found, output)


def judge(found: Line, max_error: float | None) -> None:
    """Ends with exit code 1 where the mean error is above what is allowed."""
    mean = found["errors"].get("mean_abs_error")
    if max_error is not None and mean is not None and not mean <= max_error:  # nan allows nothing
        fail(f"mean absolute error {mean:.1%} is above --max-error {max_error:g}")
