"""A report as Markdown: sentences and tables, no images."""

from __future__ import annotations

import re
from collections.abc import Sequence

from validate.reportgrid import Grid, Section


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is, in a table as well: no cell, tag, link or emphasis begins in it."""
    return re.sub(r"([\\|&`*\[]|<(?=[A-Za-z/!?]))", r"\\\1", " ".join(text.split()))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table(grid: Grid) -> str:
    """A table with its caption above it."""
    lines = [f"{escaped(grid.caption)}:", ""] if grid.caption else []
    lines.append(_row([escaped(column) for column in grid.columns]))
    lines.append(_row(["---" if column in grid.left else "---:" for column in grid.columns]))
    lines += [_row([escaped(cell) for cell in row]) for row in grid.rows]
    return "\n".join(lines)


def page(title: str, head: Sequence[str], verdict: str, sections: Sequence[Section]) -> str:
    """The whole report."""
    parts = [f"# {escaped(title)}", "\n".join(f"- {escaped(line)}" for line in head), f"**{escaped(verdict)}**"]
    for section in (s for s in sections if s.sentences or s.grids):
        parts.append(f"## {escaped(section.title)}")
        parts += [escaped(sentence) for sentence in section.sentences]
        parts += [table(grid) for grid in section.grids]
    return "\n\n".join(parts) + "\n"
