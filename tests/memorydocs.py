"""The tables of docs/memory-model.md, from the stored run tests/data/bench-memory.json.

`make bench-memory JSON=tests/data/bench-memory.json` measures, `python -m tests.memorydocs` rewrites the page, a test holds it to
the run.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from tests.kerneldocs import table

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "tests" / "data" / "bench-memory.json"
PAGE = ROOT / "docs" / "memory-model.md"
GENERATED = re.compile(r"(<!-- memory: ([a-z]+) (\d+) -->\n).*?(<!-- end -->)", re.DOTALL)


def stored() -> dict[str, Any]:
    """The run that the page shows."""
    found: dict[str, Any] = json.loads(STORED.read_text())
    return found


def markdown(shown: Any) -> str:
    """A rich table, or text as it is."""
    if isinstance(shown, str):
        return shown.strip()
    cells = [[str(cell) for cell in column.cells] for column in shown.columns]
    return table((str(column.header) for column in shown.columns), zip(*cells, strict=True))


def refreshed(text: str) -> str:
    """`text` with every generated part made anew."""
    run = stored()

    def part(match: re.Match[str]) -> str:
        module: Any = importlib.import_module(f"tests.benchmemory_{match[2]}")
        return f"{match[1]}{markdown(module.tables(run['parts'][match[2]])[int(match[3])])}\n{match[4]}"

    return GENERATED.sub(part, text)


def main() -> None:
    """Rewrites the page."""
    PAGE.write_text(refreshed(PAGE.read_text()))


if __name__ == "__main__":
    main()
