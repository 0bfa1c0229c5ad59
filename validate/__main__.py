"""`python -m validate`: calibrate to this host, predict kernels that were never seen, measure them, and say how far off."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from simulator.cli_common import run_program

OUTPUT = click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("validation"), show_default=True,
                      metavar="DIR", help="Where campaigns and reports go.")  # fmt: skip
JSON = click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                    help="Also writes the records as JSON.")  # fmt: skip
QUICK = click.option("--quick", is_flag=True, help="Under a minute, fewer points.")
SEED = click.option("--seed", type=click.IntRange(0, (1 << 62) - 1), default=None,
                    help="Of the held-out points.  [default: a fresh one]")  # fmt: skip
MAX_ERROR = click.option("--max-error", type=click.FloatRange(0.0, min_open=True), default=None, metavar="SHARE",
                         help="Exit code 1 if the mean absolute error is above it, such as 0.12.")  # fmt: skip
CAMPAIGN = click.argument("campaign", type=click.Path(dir_okay=False, path_type=Path))


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@QUICK
@SEED
@OUTPUT
@JSON
@MAX_ERROR
@click.option("--keep-spec", is_flag=True, help="Does not write hardware_specs/calibrated/HOST.yaml.")
@click.pass_context
def validate(
    context: click.Context, quick: bool, seed: int | None, output: Path, json_file: Path | None, max_error: float | None,
    keep_spec: bool,
) -> None:  # fmt: skip
    """Calibrates the model to this host in minutes, and proves it on kernels and shapes that it never saw.

    Without a command: microbenchmarks, calibration, predictions, held-out measurements, report. An interrupted run goes on.
    """
    if context.invoked_subcommand is not None:
        if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in context.params):
            name = context.invoked_subcommand
            raise click.UsageError(f"Options go behind the command; '{name} --help' shows which ones {name} takes.")
        return
    from validate import commands

    commands.everything(quick, seed, output, json_file, max_error, keep_spec)


@validate.command()
@JSON
def detect(json_file: Path | None) -> None:
    """What this host is: CPU, caches, pages, compiler, libraries, and the spec that it is described from."""
    from validate import commands

    commands.detect(json_file)


@validate.command()
@QUICK
@SEED
@OUTPUT
def measure(quick: bool, seed: int | None, output: Path) -> None:
    """Microbenchmarks, then frozen predictions, then held-out kernels, into one file of JSON lines. Goes on where it stopped."""
    from validate import commands

    click.echo(str(commands.measure(quick, seed, output)))


@validate.command()
@CAMPAIGN
@click.option("--spec", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE",
              help="Where the calibrated spec goes.  [default: hardware_specs/calibrated/HOST.yaml]")  # fmt: skip
@JSON
def calibrate(campaign: Path, spec: Path | None, json_file: Path | None) -> None:
    """Parameters from the microbenchmarks of a campaign, and the calibrated spec."""
    from validate import commands

    commands.calibrate(campaign, spec, json_file)


@validate.command()
@click.argument("campaign", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--recorded", is_flag=True, help="Every recorded host, replayed with the model as it is now.")
@click.option("--workload", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE",
              help="Measures a workload of your own here, by the calibration of CAMPAIGN (or the newest one).")  # fmt: skip
@click.option("--again", is_flag=True, help="By the model as it is now instead of the frozen predictions.")
@OUTPUT
@JSON
@MAX_ERROR
def check(
    campaign: Path | None, recorded: bool, workload: Path | None, again: bool, output: Path, json_file: Path | None,
    max_error: float | None,
) -> None:  # fmt: skip
    """Measured against predicted: a campaign, the recorded hosts, or a workload of your own."""
    from validate import commands

    if recorded and (campaign or workload):
        raise click.UsageError("--recorded takes all recorded hosts: neither CAMPAIGN nor --workload goes with it")
    if again and (recorded or workload):
        raise click.UsageError("--again is of one CAMPAIGN; recorded hosts and workloads are always predicted anew")
    if recorded:
        commands.check_recorded(json_file, max_error)
    elif workload is not None:
        commands.check_workload(workload, campaign or commands.newest(output), json_file, max_error)
    else:
        commands.check(campaign or commands.newest(output), again, json_file, max_error)


@validate.command()
@click.argument("campaign", type=click.Path(dir_okay=False, path_type=Path), required=False)
@OUTPUT
def report(campaign: Path | None, output: Path) -> None:
    """One self-contained HTML page and the same as Markdown."""
    from validate import commands

    commands.report(campaign or commands.newest(output), output)


def main() -> None:
    """Entry point: expected faults are one message and an exit code."""
    run_program(validate, "validate", "\ninterrupted; the same command goes on where it stopped")


if __name__ == "__main__":
    main()
