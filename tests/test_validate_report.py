"""The report of a check: everything of it is inside and escaped, goals are judged, and Markdown's tables are whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import plotly.graph_objects as go
import pytest
from rich.console import Console

from validate import errors, reportgrid, tables
from validate.points import Point, record_of
from validate.report import html, markdown, sections
from validate.reportfigures import KINDS, figures
from validate.reportgrid import MET, MISSED, Grid
from validate.reportmarkdown import escaped
from validate.reportroofline import operating, roofs
from validate.results import Measured, Result, regime
from validate.winners import agreement, crossovers, pairs, ratio_errors

HOSTILE = "<b onclick=x>|\"'&amp;`*[a](b)</script><img src=http://x.example/>"

POINTS = (
    Point("gemm_ffn", 64, 1, "model", layers=4, hidden=512, intermediate=2048, gemm_dtype="fp32", library="onednn"),
    Point("gemm_ffn", 4, 2, hidden=512, intermediate=2048, gemm_dtype="int8", library="openblas"),
    Point("lookup_ffn", 64, 1, hidden=512, tables=64, rows=128, columns=512, projection_dtype="int16", table_dtype="int8"),
    Point("gather", 8, 2, tables=64, rows=64, columns=512, table_dtype="bf16", page="4KiB", skew=0.8),
    Point("gather", 8, 1, tables=64, rows=128, columns=512, table_dtype="fp32"),
    Point("bh4", 3, 1, hidden=512, tables=64, rows=64, projection_dtype="bf16"),
    Point("code_score", 300, 1, hidden=512, tables=64, rows=64, projection_dtype="fp32"),
)  # fmt: skip
ERRORS = (0.03, -0.4, 0.2, -0.1, -0.3, 0.01, 0.08)


def result(point: Point, error: float) -> Result:
    seconds = 1e-6 * point.batch
    predicted = seconds * (1.0 + error)
    measured = Measured(point, 0, seconds, 0.02, 0.01, 9, 1)
    return Result(
        measured, predicted, predicted * 0.8, predicted * 1.25, {"gather": predicted}, predicted * 1.1, "gather 100%"
    )


RESULTS = tuple(result(point, error) for point, error in zip(POINTS, ERRORS, strict=True))


def point_record(r: Result) -> dict[str, Any]:
    p = r.point
    return {
        "operator": p.operator, "label": p.label, "shape": record_of(p), "dtype": p.dtype, "variant": "", "library": p.library,
        "threads": p.threads, "batch": p.batch, "residency": p.residency, "pages": p.page, "skew": p.skew,
        "footprint_bytes": p.footprint_bytes, "regime": regime(p), "measured_seconds": r.measured.seconds, "noise_floor": 0.01,
        "predicted_seconds": r.predicted_seconds, "interval_low_seconds": r.low_seconds,
        "interval_high_seconds": r.high_seconds, "covered": r.covered, "error": r.error, "explanation": r.explanation,
    }  # fmt: skip


def found(results: tuple[Result, ...] = RESULTS) -> dict[str, Any]:
    """A record as `validate.check.record` makes it, small."""
    both = list(pairs(results))
    statistics = errors.report(results)
    parameter = {"probe": "sweep", "low": 1e9, "high": 1e12, "before": 5e10, "low_90": 3.9e10, "high_90": 4.1e10}
    names = ("caches.L2.bandwidth", "caches.L3.bandwidth", "caches.L3.shared_bandwidth", "memory.core_bandwidth",
             "memory.read_bandwidth")  # fmt: skip
    return {
        "format": "lookupsim-check 1",
        "host_id": "some-host",
        "measured_host": {
            "lookupsim_version": "0.1.0", "processor": "Some CPU", "virtual_machine": True, "usable_cpus": 2, "logical_cpus": 2,
            "caches": [{"level": 1, "size_bytes": 32768, "cpus": 1}], "memory_bytes": 1 << 34, "kernel": "6.1",
            "cpu_quota": None, "libraries": {"onednn": "3.2"}, "compiler": "g++ 12", "python_version": "3.11",
            "transparent_hugepages": "madvise",
        },
        "seed": 7,
        "mode": "quick",
        "started": "2026-01-02T03:04:05+00:00",
        "ended": "2026-01-02T03:05:05+00:00",
        "predictions_frozen": "2026-01-02T03:04:35+00:00",
        "model": "0123abcd",
        "conditions": {
            "clock_hz_first": 4.1e9, "clock_hz_last": 4.0e9, "clock_hz_range": [3.9e9, 4.2e9], "load_before": 0.1,
            "load_after": 1.0, "steal_seconds": 0.25, "rounds": 9, "drifted_rounds": 2, "repeated_rounds": 1, "resumed": [],
            "pages": [{"requested_page_bytes": 2 << 20, "region_bytes": 1 << 28, "huge_bytes": 1 << 28, "verified": True}],
        },
        "errors": statistics,
        "winner_agreement": agreement(both),
        "ratio_error": ratio_errors(both),
        "crossover_error": crossovers(both),
        "interval_coverage": {"nominal": 0.9, "points": len(results), "share": statistics.get("interval_coverage")},
        "parameters": [{**parameter, "name": name, "after": 4e10, "at_bound": not i} for i, name in enumerate(names)],
        "refused": ["core.row_start: no probe; kept"],
        "points": [point_record(r) for r in results],
        "seconds": {"total": 61.0},
    }  # fmt: skip


def hostile(record: Any) -> Any:
    """The record with every free text made hostile."""
    if isinstance(record, dict):
        kept = ("operator", "dtype", "library", "regime", "table_dtype", "gemm_dtype", "projection_dtype", "name")
        return {key: value if key in kept else hostile(value) for key, value in record.items()}
    if isinstance(record, list):
        return [hostile(value) for value in record]
    return HOSTILE if isinstance(record, str) else record


class Tags(HTMLParser):
    """Start tags with their attributes, and text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return html(found())


@pytest.fixture(scope="module")
def hostile_page() -> str:
    return html(hostile(found()))


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Tables as rows of cells."""
    blocks = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    return [[re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in block] for block in blocks]


def test_nothing_is_fetched(hostile_page: str) -> None:
    tags = Tags(hostile_page).tags
    assert not [tag for tag, attributes in tags if {"src", "href", "srcset", "data", "action"} & attributes.keys()]
    assert not {"link", "iframe", "img", "object", "embed", "base"} & {tag for tag, _ in tags}
    assert "@import" not in hostile_page
    assert "url(http" not in hostile_page
    policy = next(a["content"] for tag, a in tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_plotly_is_inside_once(page: str) -> None:
    assert page.count("plotly.js v") == 1
    assert [tag for tag, _ in Tags(page).tags].count("script") == 3


def test_what_data_say_is_escaped(page: str, hostile_page: str) -> None:
    plain, found_tags = (Tags(text) for text in (page, hostile_page))
    assert [tag for tag, _ in found_tags.tags] == [tag for tag, _ in plain.tags]
    assert not [a for _, a in found_tags.tags if any(name.startswith("on") for name in a)]
    assert any(HOSTILE in words for words in found_tags.words)


def test_figures_are_data_that_end_no_script(hostile_page: str) -> None:
    packed = re.search(r'<script type="application/json" id="figures">(.*?)</script>', hostile_page, re.DOTALL)
    assert packed is not None
    drawn = json.loads(packed.group(1))
    places = {a["id"] for tag, a in Tags(hostile_page).tags if tag == "div" and "id" in a}
    assert set(drawn) == places == set(figures(found()))
    hover = drawn["errors_by_batch"]["data"][0]["hovertext"][0]
    assert "<b" not in hover.replace("<br>", "")


def test_plotly_takes_the_figures() -> None:
    for figure in figures(found()).values():
        assert go.Figure(figure).data
        for axis in ("xaxis", "yaxis"):
            assert figure["layout"][axis].get("title", {"text": "µs"})["text"]


def test_axes_say_their_units() -> None:
    drawn = figures(found())
    titles = {
        name: [f["layout"][axis].get("title", {}).get("text") for axis in ("xaxis", "yaxis")]
        for name, f in drawn.items()
    }
    assert titles == {
        "measured_predicted": ["measured, µs", "predicted, µs"],
        "errors_by_batch": ["tokens a call (B)", "error, %"],
        "errors_by_kind": ["error, %", None],
        "errors_by_dtype": ["error, %", None],
        "roofline": ["operations for each byte, op/byte", "Gop/s a thread"],
    }


def test_kinds_have_a_colour_and_a_marker_of_their_own() -> None:
    assert [reportgrid.kind(point_record(r)) for r in RESULTS] == [errors.kind(r) for r in RESULTS]
    assert {errors.kind(r) for r in RESULTS} == set(KINDS)
    assert len({colour for colour, _ in KINDS.values()}) == len({marker for _, marker in KINDS.values()}) == len(KINDS)


def test_goals_are_judged_in_words(page: str) -> None:
    grid = sections(found())[0].grids[0]
    rows = {row[0]: row for row in grid.rows}
    assert rows["GEMM FFN, onednn"][3] == f"≤ 6 {MET}"
    assert rows["code+score"][3] == f"≤ 5 {MISSED}"
    assert rows["gather, elsewhere"][6] == f"≤ 30 {MET}"
    assert rows["GEMM FFN, openblas"][3] == ""
    assert f'<td class="word missed">≤ 5 {MISSED}</td>' in page
    assert "8 of 11 goals met" in page


def test_order_and_facts() -> None:
    text = markdown(found())
    assert re.findall(r"^#+ (.*)", text, re.MULTILINE) == [
        "Predictions held against measurements: some-host", "Accuracy by kind", "Errors by tokens a call, kind and data type",
        "The worst five", "Winner: look-up or GEMM", "Ratio of GEMM's time to look-up's", "Crossovers",
        "Coverage of the 90 % intervals", "Before and after calibration", "Calibrated parameters", "Roofline of the host",
        "Conditions of the measurement", "Every point",
    ]  # fmt: skip
    assert "frozen 2026-01-02 03:04:35 UTC" in text
    assert "Not told by any probe: core.row_start: no probe; kept." in text
    assert "| caches.L2.bandwidth | 50.0 | 40.0 | 39.0 to 41.0 | GB/s | sweep | at its bound |" in text
    assert "| clock | 4.10 GHz in the first round, 4.00 GHz in the last, 3.90 to 4.20 GHz over all |" in text
    assert (
        "| gather | bf16 | 64x64x512 | 8 | - | 2 | hot | 4KiB | 0.8 | 8.00 | 1.0 | 7.20 | 5.76 to 9.00 | -10.0 |"
        in text
    )
    assert "recomputed" in markdown({**found(), "predictions_frozen": None})


def test_absent_crossovers_are_none() -> None:
    assert "none: no layer was measured in both forms" in markdown(found())
    base = {"group": 1, "lookup": "int16/int8", "gemm": "onednn fp32", "threads": 1, "residency": "hot"}
    rows = [
        {**base, "batch": None, "predicted_batches": [], "speedup_error": None},
        {**base, "batch": 37.2, "predicted_batches": [41.0], "speedup_error": 0.034},
    ]
    text = markdown({**found(), "crossover_error": rows})
    assert "| int16/int8 | onednn fp32 | 1 | hot | none | none | none |" in text
    assert "| int16/int8 | onednn fp32 | 1 | hot | 37 | 41 | 3.4 |" in text


def test_tables_of_markdown_are_whole() -> None:
    for record in (found(), hostile(found())):
        blocks = markdown_tables(markdown(record))
        assert len(blocks) > 10
        for block in blocks:
            assert len({len(cells) for cells in block}) == 1
            assert set("".join(block[1])) <= set(" -:")


def test_markdown_takes_no_tag_or_link_from_data() -> None:
    assert escaped(HOSTILE).startswith("\\<b onclick=x>\\|\"'\\&amp;\\`\\*\\[a](b)\\</script>\\<img")
    assert escaped("a\n| B <= 8") == "a \\| B <= 8"
    assert "![" not in markdown(found())


def test_no_points_at_all() -> None:
    empty = found(())
    empty["conditions"] = {
        **empty["conditions"],
        "clock_hz_range": None,
        "load_after": None,
        "steal_seconds": None,
        "pages": [],
    }
    empty |= {"parameters": [], "refused": [], "seconds": {}, "ended": None}
    text = html(empty)
    assert "No held-out point was measured" in text
    assert "<script" not in text
    assert "No held-out point was measured" in markdown(empty)


def test_a_grid_refuses_short_rows() -> None:
    with pytest.raises(ValueError, match="2 columns, but a row has 1"):
        Grid(("a", "b"), (("c",),))


def test_roofline_counts_operations_and_shares_bandwidths() -> None:
    record = found()
    by_label = {o.label: o for o in operating(record["points"])}
    assert len(by_label) == 4
    gemm = by_label[POINTS[0].label]
    assert gemm.intensity == pytest.approx(2 * 64 / 4)  # two operations for a weight and token, four bytes a weight
    assert gemm.rate == pytest.approx(4 * 64 * 512 * 2048 / 64e-6)
    gather = by_label[POINTS[3].label]
    assert gather.intensity == pytest.approx(0.5)
    assert gather.rate == pytest.approx(8 * 64 * 512 / 8e-6 / 2)
    rates = {r.name: r.rate for r in roofs({**record, "host_peaks": {"fp32_flops": 2e11, "bf16_flops": None}})}
    assert rates["memory, one core"] == 4e10
    assert rates["memory, a core's part of 2"] == 2e10
    assert rates["fp32 peak"] == 2e11
    assert "bf16 peak" not in rates
    assert "No peaks are drawn" in markdown(record)


def test_console_tables_fit_80_columns() -> None:
    record = found()
    wide = {
        "before": 7.79e11,
        "after": 1e12,
        "low_90": 9.9e11,
        "high_90": 1.2e12,
        "probe": "rows with work in the first level",
    }
    parameters = [{**p, **wide} for p in record["parameters"]]
    for name in ("prefetcher.software_lines_in_flight", "caches.L2.cyclic_miss_curve[10]"):
        parameters.append(
            {**record["parameters"][0], "name": name, "before": 64.0, "after": 103.3, "low_90": 0.0071, "high_90": 103}
        )
    for table in (tables.error_table(record), tables.before_table(record), tables.parameter_table(parameters)):
        written = StringIO()
        Console(width=80, file=written).print(table)
        text = written.getvalue()
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= 80


def test_what_was_before_is_not_made_up() -> None:
    knot = {"name": "caches.L2.random_miss_curve[1]", "before": None, "after": 0.5}
    assert tables.before_value(knot) == "-"
    assert tables.before_value({**knot, "before": 0.5}) == "-"
    assert tables.before_value({"name": "core.row_load_share", "before": 0.5}) == "0.50"
    assert tables.before_value({"name": "memory.latency", "before": 1.26e-7}) == "126"


def test_goals_in_the_console() -> None:
    assert tables.goal(0.05, 0.06) == "<= 6"
    assert tables.goal(0.07, 0.06) == "> 6"
    assert tables.goal(0.07, None) == ""


def test_the_goals_in_a_line() -> None:
    errors = {"points": 4, "mean_abs_error": 0.055, "p95_abs_error": 0.1}
    record = {
        "errors": {**errors, "by_kind": {"BH4": errors, "other": errors}, "whole_ffn": {**errors, "p95_abs_error": 0.3}}
    }
    assert tables.goal_line(record) == "2 of 4 goals met; missed: BH4 mean; whole FFN P95"
    none = {"points": 0}
    assert tables.goal_line({"errors": {**none, "by_kind": {}, "whole_ffn": none}}) == ""


def test_the_command_line_loads_no_plotly() -> None:
    code = "import sys, validate.report, validate.commands; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
