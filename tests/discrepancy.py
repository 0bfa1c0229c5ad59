"""`python -m tests.discrepancy`: the model's own error by kind, learned on the campaigns of development seeds, into
validate/discrepancy.json. Their points shaped the model, so no report counts them."""

from __future__ import annotations

import json
from pathlib import Path

from validate.check import check
from validate.discrepancy import FILE, learned
from validate.journal import read

DEVELOPMENT = Path(__file__).resolve().parent.parent / "validate" / "development"


def main() -> None:
    """Writes the table and prints it."""
    results = []
    for path in sorted(DEVELOPMENT.glob("*/*.jsonl")):
        results += check(read(path), again=True).results
    found = learned(results)
    FILE.write_text(json.dumps(found, indent=2) + "\n")
    for name, entry in found["kinds"].items():
        print(f"{entry['half_width']:6.1%} {entry['points']:4} {name}")


if __name__ == "__main__":
    main()
