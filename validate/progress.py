"""What goes on and how long it will take: one line of a terminal that is written over, a line each elsewhere."""

from __future__ import annotations

import sys
import time

import click


class Progress:
    """Steps with expected seconds; their sum, corrected by what the finished ones took, gives the time left."""

    def __init__(self, expected_seconds: float) -> None:
        self._begin = time.monotonic()
        self._expected = expected_seconds
        self._share = 0.0
        self._resumed = 0.0
        self._shown = ""

    def __call__(self, text: str, share: float | None = None) -> None:
        """Shows `text`; `share`: of the whole that is done, from 0 to 1."""
        if share is not None:
            if not self._share:
                self._resumed = share  # what an earlier run did takes no time of this one
            self._share = max(self._share, share)
        passed = time.monotonic() - self._begin
        line = f"[{passed:3.0f} s, about {self._left(passed):.0f} s left] {text}"
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[2K{line[:110]}", nl=False, err=True)
        elif text != self._shown:
            click.echo(line, err=True)
        self._shown = text

    def _left(self, passed: float) -> float:
        own = self._share - self._resumed
        by_plan = self._expected * (1.0 - self._share)
        if own <= 0.02:
            return by_plan
        by_pace = passed / own * (1.0 - self._share)
        return own * by_pace + (1.0 - own) * by_plan

    def end(self) -> None:
        """Clears the line."""
        if sys.stderr.isatty():
            click.echo("\r\x1b[2K", nl=False, err=True)
