"""The `lookupsim` command. Sub-commands import what they need, so that --help stays fast."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from simulator import __version__
from simulator.cli_common import run_program

_COMMANDS = {
    "compare": ("simulator.cli_predict", "GEMM against look-up FFN: who wins, by how much and why."),
    "explain": ("simulator.cli_predict", "Why one form wins, and what would change it."),
    "predict": ("simulator.cli_predict", "Time, tokens/s and binding resource of one workload."),
    "spec": ("simulator.cli_spec", "CPU specs: check, show, list, diff, detect."),
    "timeline": ("simulator.cli_timeline", "A run of the event engine as a timeline for Perfetto."),
    "trace": ("simulator.cli_trace", "Address traces and streams through exact caches: run, stats, export."),
    "workload": ("simulator.cli_workload", "Workloads: show, list."),
}


class _Lazy(click.Group):
    """Loads a sub-command's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[name][0]), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lookupsim")
def lookupsim() -> None:
    """Predicts what a transformer's FFN costs on a CPU: as GEMM and as memory look-ups."""


def main() -> None:
    """Entry point: every expected fault is one message and an exit code."""
    try:
        run_program(lookupsim, "lookupsim")
    except Exception as error:
        _expected(error)


def _expected(error: Exception) -> None:
    from simulator.predict import PredictionError
    from simulator.units import UnitError
    from simulator.yamlfile import SpecFileError

    if not isinstance(error, (SpecFileError, PredictionError, UnitError)):
        raise error
    click.echo(str(error), err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
