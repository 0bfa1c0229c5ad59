"""The README's picture: `python docs/make_figures.py` (needs kaleido and Chromium for SVG)."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner

from dashboard.charts import speedup_over_batch
from simulator.cli import lookupsim

DOCS = Path(__file__).resolve().parent
BATCHES = "1,4,16,64,256,1024,4096,16384,32768"


def main() -> None:
    """Speed-up over the batch on every shipped CPU, one thread and a full socket."""
    panels = {}
    for threads, title in (("1", "one core"), ("all", "all cores of a socket")):
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            arguments = ["compare", "-m", "all", "-t", threads, "-b", BATCHES, "--json", file.name]
            result = CliRunner().invoke(lookupsim, arguments, catch_exceptions=False)
            if result.exit_code:
                sys.exit(result.output)
            records = json.loads(Path(file.name).read_text())["records"]
        panels[title] = [r for r in records if r["match"] == "best"]
    figure = speedup_over_batch(panels)
    figure.write_image(DOCS / "speedup.svg", width=1000, height=500)
    print(DOCS / "speedup.svg")


if __name__ == "__main__":
    main()
