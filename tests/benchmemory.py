"""Every table of the memory hierarchy: `make bench-memory`, or `python -m tests.benchmemory [--json FILE] [PART ...]`.

Parts are modules of their own, `benchmemory_<part>`: `collect()` measures and returns what goes into the JSON, `tables(found)`
makes it readable. docs/memory-model.md holds the tables of a stored run (tests/memorydocs.py).
"""

from __future__ import annotations

import importlib
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import click

from simulator.cli_common import console, write_json

PARTS = {
    "trace": "Trace simulator: accesses a second",
    "cachegrind": "Trace simulator against Cachegrind on a recorded program",
    "locality": "Closed forms of locality against the trace simulator",
    "events": "Event engine: queues, figures, agreement with the closed forms",
    "shapes": "Known shapes of real memories",
}


def run(parts: tuple[str, ...]) -> dict[str, Any]:
    """Results by part, each with the seconds that it took; tables go to the terminal as they come."""
    screen = console()
    screen.width = max(screen.width, 130)
    found: dict[str, Any] = {}
    for part in parts:
        screen.print(f"\n{PARTS[part]}")
        print(f"{part} ...", file=sys.stderr, flush=True)
        module: Any = importlib.import_module(f"tests.benchmemory_{part}")
        start = time.perf_counter()
        found[part] = module.collect()
        found[part]["seconds"] = round(time.perf_counter() - start, 1)
        for table in module.tables(found[part]):
            screen.print(table)
    return found


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(tuple(PARTS)))
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def main(parts: tuple[str, ...], json_file: Path | None) -> None:
    """Measures the parts given, or all of them."""
    chosen = parts or tuple(PARTS)
    found = run(chosen)
    if json_file is not None:
        write_json(json_file, {"date": date.today().isoformat(), "parts": found})


if __name__ == "__main__":
    main()
