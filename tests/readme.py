"""The generated parts of README.md and the commands of docs/traces.md: `python -m tests.readme` rewrites them, tests hold them to
what is printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from simulator.cli import lookupsim
from tests.accuracy import Point, errors, markdown, points

README = Path(__file__).resolve().parent.parent / "README.md"
TRACES = README.parent / "docs" / "traces.md"
CONSOLE = re.compile(r"```console\n\$ lookupsim ([^\n]*)\n(.*?)```", re.DOTALL)
GENERATED = re.compile(r"(<!-- (accuracy at B=512|errors) -->\n).*?(<!-- end -->)", re.DOTALL)


def printed(arguments: str) -> str:
    """What `lookupsim ARGUMENTS` prints at 80 columns, without trailing blanks."""
    result = CliRunner(env={"COLUMNS": "80"}).invoke(lookupsim, shlex.split(arguments), catch_exceptions=False)
    return "\n".join(line.rstrip() for line in result.output.splitlines()) + "\n"


def summary(found: list[Point]) -> str:
    """Mean, P95 and worst error of both forms and of everything, as a table."""
    groups: dict[str, Callable[[Point], bool]] = {
        "GEMM": lambda p: p.form == "gemm",
        "look-up": lambda p: p.form == "lookup",
        "look-up in fp32 and bf16": lambda p: p.dtype in ("fp32/fp32", "bf16/bf16"),
        "everything": lambda p: True,
    }
    lines = ["| absolute error | cases | mean | P95 | worst |", "|---|---|---|---|---|"]
    for name, belongs in groups.items():
        chosen = [p for p in found if belongs(p)]
        e = errors(chosen)
        lines.append(f"| {name} | {len(chosen)} | {e['mean']:.0%} | {e['p95']:.0%} | {e['worst']:.0%} |")
    return "\n".join(lines)


def refreshed(text: str) -> str:
    """`text` with every generated part made anew."""
    found = points()
    text = CONSOLE.sub(lambda m: f"```console\n$ lookupsim {m[1]}\n{printed(m[1])}```", text)
    parts = {"accuracy at B=512": markdown(found, 512.0), "errors": summary(found)}
    return GENERATED.sub(lambda m: f"{m[1]}{parts[m[2]]}\n{m[3]}", text)


def main() -> None:
    """Rewrites both."""
    for page in (README, TRACES):
        page.write_text(refreshed(page.read_text()))


if __name__ == "__main__":
    main()
