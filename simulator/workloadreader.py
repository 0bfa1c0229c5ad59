"""A workload document being read: typed access to its values, every fault at the place it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.units import Dimension, UnitError, parse
from simulator.yamlfile import Document, Fault, Location, dotted, shown, suggest

FORMAT_VERSION = 1
OVERRIDE = "--set"
"""The file name that faults of overridden values carry."""


@dataclass
class Reader:
    """A document being read: typed access to its values, and every fault at the place it belongs to.

    `folder`: where files named inside are looked for; None allows none. `labels`: field -> the name its value had in
    the file, where that is another one.
    """

    document: Document
    folder: Path | None
    overridden: set[Location] = field(default_factory=set)
    labels: dict[Location, str] = field(default_factory=dict)

    @property
    def data(self) -> dict[Any, Any]:
        """The top-level mapping."""
        return self.document.data if isinstance(self.document.data, dict) else {}

    def fault(
        self, location: Location, rule: str, got: str = "", suggestion: str = "", *, at_key: bool = False
    ) -> None:
        """Adds a fault, unless the value at `location` has one already (the file as a whole may have several)."""
        label = self.labels.get(location, dotted(location))
        if any(location[:n] in self.overridden for n in range(1, len(location) + 1)):
            place = (OVERRIDE, 0, 0)
        else:
            mark = self.document.key_mark(location) if at_key else self.document.mark(location)
            place = (self.document.file, *mark)
        if not location or not self.broken(location):
            self.document.faults.append(Fault(*place, label, rule, got, suggestion))

    def broken(self, location: Location) -> bool:
        """Whether a fault of this value is known."""
        return any(f.field in (dotted(location), self.labels.get(location)) for f in self.document.faults)

    def whole(self, location: Location, value: Any, low: int, high: int) -> float | None:
        """A whole number within bounds, as a float."""
        number = not isinstance(value, bool) and isinstance(value, (int, float))
        if number and low <= value <= high and value == int(value):
            return float(value)
        self.fault(location, f"a whole number from {low} to {high} is needed", shown(value))
        return None

    def choice(self, location: Location, value: Any, choices: tuple[str, ...]) -> Any:
        """One of a set of words."""
        if isinstance(value, str) and value in choices:
            return value
        meant = suggest(value, choices) if isinstance(value, str) else ""
        self.fault(location, f"one of {', '.join(choices)} is needed", shown(value), meant)
        return None

    def truth(self, location: Location, value: Any) -> bool | None:
        """true or false."""
        if isinstance(value, bool):
            return value
        self.fault(location, "true or false is needed", shown(value))
        return None

    def text(self, location: Location, value: Any) -> str | None:
        """A text of sensible length."""
        if isinstance(value, str) and value.strip() and len(value) <= 500:
            return value
        self.fault(location, "a text of 1 to 500 characters is needed", shown(value))
        return None

    def size(self, location: Location, value: Any) -> float | None:
        """A number of bytes, written with its unit."""
        try:
            return parse(value, Dimension.SIZE)
        except UnitError as error:
            self.fault(location, str(error))
            return None


Read = Callable[[Reader, Location, Any], Any]
