"""Marked loops (include/mca.hpp) in compilers' assembly: the innermost loop around each mark, with its own control instructions.

A mark only says where to look; the loop is what lies between a label and the jump back to it. So nothing depends on where the
compiler put the mark among the instructions, and the loop of an unmarked compilation can be compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MARK = re.compile(r"LOOKUPSIM-LOOP (.+?)\s*$")
COMMENT = {"x86_64": "#", "aarch64": "//"}
_LABEL = re.compile(r"^\s*([.\w$]+):")
_NUMERIC = re.compile(r"^(\d+)b$")
_JUMP = {
    "x86_64": re.compile(r"^j[a-z]+\s+([.\w$]+)$"),
    "aarch64": re.compile(
        r"^(?:b|b\.?(?:eq|ne|c[sc]|h[is]|l[oset]|mi|pl|v[sc]|g[et]|al|any|none|first|n?last)"
        r"|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#?\w+,)\s+([.\w$]+)$"
    ),
}


@dataclass(frozen=True)
class Loop:
    """A marked loop. `body`: its instructions in AT&T or AArch64 syntax, the jump back included; `copies`: how often the
    compiler made it (inlining); `branches`: jumps inside, taken as not taken."""

    name: str
    body: tuple[str, ...]
    copies: int = 1
    branches: int = 0


def _clean(line: str, machine: str) -> str:
    return " ".join(line.split(COMMENT[machine])[0].split())


def _is_instruction(text: str) -> bool:
    return bool(text) and not text.startswith((".", "#")) and not text.endswith(":")


def _spans(lines: list[str], machine: str) -> Iterator[tuple[int, int]]:
    """(line of the label, line of the jump back) of every loop."""
    seen: dict[str, int] = {}
    for at, line in enumerate(lines):
        if label := _LABEL.match(line):
            seen[label[1]] = at
        elif jump := _JUMP[machine].match(_clean(line, machine)):
            numeric = _NUMERIC.match(jump[1])
            target = numeric[1] if numeric else jump[1]
            if target in seen:
                yield seen[target], at


def _body(lines: list[str], span: tuple[int, int], machine: str) -> tuple[str, ...]:
    cleaned = (_clean(line, machine) for line in lines[span[0] : span[1] + 1] if not _LABEL.match(line))
    return tuple(text for text in cleaned if _is_instruction(text))


def all_loops(assembly: str, machine: str) -> set[tuple[str, ...]]:
    """The body of every loop."""
    lines = assembly.splitlines()
    return {_body(lines, span, machine) for span in _spans(lines, machine)}


def marked_loops(assembly: str, machine: str) -> dict[str, Loop]:
    """The innermost loop around each mark, by name; a mark outside any loop (unrolled away) is left out."""
    lines = assembly.splitlines()
    spans = list(_spans(lines, machine))
    found: dict[str, Loop] = {}
    for at, line in enumerate(lines):
        mark = MARK.search(line)
        around = [span for span in spans if mark and span[0] <= at <= span[1]]
        if mark is None or not around:
            continue
        body = _body(lines, min(around, key=lambda span: span[1] - span[0]), machine)
        name = mark[1]
        if name in found:
            old = found[name]
            found[name] = Loop(name, old.body, old.copies + 1, old.branches)
        else:
            branches = sum(bool(_JUMP[machine].match(text)) for text in body) - 1
            found[name] = Loop(name, body, 1, branches)
    return found
