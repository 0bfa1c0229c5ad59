"""Figures of a report as pure functions of its record: plotly's figures as plain data, which its script in the page draws.

Colours of the text, the grid and the background are the page's, which knows whether it is light or dark.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from simulator.tables import number
from validate.reportgrid import Record, interval, kind, micros, plural, signed
from validate.reportroofline import Operating, Roof, operating, roofs
from validate.tables import percent

Figure = dict[str, Any]
Trace = dict[str, Any]
Style = tuple[str, str]

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A",
)  # fmt: skip
"""Okabe and Ito's colours, which colour-blind readers tell apart, but for black and yellow: each vanishes on one background."""

KINDS: dict[str, Style] = {
    "GEMM FFN, onednn": (BLUE, "circle"),
    "GEMM FFN, openblas": (SKY, "circle-open"),
    "LookupFFN": (VERMILION, "square"),
    "BH4": (GREEN, "diamond"),
    "code+score": (ORANGE, "triangle-up"),
    "gather, around the last level": (PURPLE, "x"),
    "gather, elsewhere": (GREY, "cross"),
}
"""Colour and marker by kind; the same in every report."""

DTYPES = {"fp32": BLUE, "bf16": VERMILION, "int8": GREEN, "int16": PURPLE}
_LEVEL_DASHES = {"L2": "solid", "L3": "dash", "memory": "dot"}
_OTHER: Style = (GREY, "star")

BAND = "rgba(128, 128, 128, 0.2)"
LINE = "rgba(128, 128, 128, 0.9)"
NEAR = 0.1
"""The band's half-width."""


def figures(found: Record) -> dict[str, Figure]:
    """Every figure by its name; none where there is no point."""
    points = found["points"]
    if not points:
        return {}
    return {
        "measured_predicted": measured_predicted(points),
        "errors_by_batch": errors_by_batch(points),
        "errors_by_kind": errors_by_kind(points),
        "errors_by_dtype": errors_by_dtype(points),
        **({"roofline": roofline(found)} if operating(points) else {}),
    }


def hover(p: Record) -> str:
    """What a point says of itself under the pointer; plotly reads tags, so the label is escaped."""
    return (
        f"{_text(p['label'])}<br>measured {micros(p['measured_seconds'])} µs (noise {percent(p['noise_floor'])} %)"
        f"<br>predicted {micros(p['predicted_seconds'])} µs, 90 % interval {interval(p)} µs<br>error {signed(p['error'])} %"
    )


def _text(text: str) -> str:
    return html.escape(text, quote=False)


def _by_kind(points: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for p in points:
        found.setdefault(kind(p), []).append(p)
    return {name: found[name] for name in sorted(found)}


def _marker(name: str, size: int = 8) -> dict[str, Any]:
    colour, symbol = KINDS.get(name, _OTHER)
    return {"color": colour, "symbol": symbol, "size": size, "opacity": 0.85}


def _scatter(x: Sequence[float], y: Sequence[float], **rest: Any) -> Trace:
    return {"type": "scatter", "x": list(x), "y": list(y), **rest}


def _figure(traces: Sequence[Trace], height: int, x: Trace, y: Trace, **layout: Any) -> Figure:
    """A figure whose width is the page's."""
    axis = {"automargin": True, "zeroline": False}
    legend = {
        "orientation": "h",
        "yref": "container",
        "y": 0,
        "yanchor": "bottom",
        "xref": "container",
        "x": 0,
        "xanchor": "left",
    }
    margin = {"l": 10, "r": 10, "t": 10, "b": 10}
    return {
        "data": list(traces),
        "layout": {"height": height, "margin": margin, "legend": legend, "hovermode": "closest", "xaxis": {**axis, **x},
                   "yaxis": {**axis, **y}, **layout},
    }  # fmt: skip


def _log(title: str, low: float | None = None, high: float | None = None) -> Trace:
    """A logarithmic axis with a tick for each decade."""
    ends = {} if low is None or high is None else {"range": [math.log10(low), math.log10(high)]}
    return {"type": "log", "dtick": 1, "title": {"text": title}, **ends}


def measured_predicted(points: Sequence[Record]) -> Figure:
    """Predicted over measured time, both logarithmic, with the noise of the measurement and a band around equality."""
    times = [p[key] * 1e6 for p in points for key in ("measured_seconds", "predicted_seconds")]
    low, high = min(times) / 1.5, max(times) * 1.5
    band = _scatter(
        [low, high, high, low], [low * (1 - NEAR), high * (1 - NEAR), high * (1 + NEAR), low * (1 + NEAR)], mode="lines",
        line={"width": 0}, fill="toself", fillcolor=BAND, hoverinfo="skip", name="within 10 %",
    )  # fmt: skip
    line = {"color": LINE, "width": 1}
    same = _scatter([low, high], [low, high], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    traces: list[Trace] = [band, same]
    for name, own in _by_kind(points).items():
        measured = [p["measured_seconds"] * 1e6 for p in own]
        noise = [p["noise_floor"] * m for p, m in zip(own, measured, strict=True)]
        traces.append(
            _scatter(
                measured, [p["predicted_seconds"] * 1e6 for p in own], mode="markers", name=_text(name),
                marker=_marker(name), error_x={"array": noise, "thickness": 1, "width": 0}, hovertext=[hover(p) for p in own],
                hoverinfo="text",
            )
        )  # fmt: skip
    return _figure(traces, 620, _log("measured, µs", low, high), _log("predicted, µs", low, high))


def _errors(points: Sequence[Record]) -> Trace:
    """The axis of errors, the same in every figure of them."""
    errors = [100 * p["error"] for p in points]
    return {"title": {"text": "error, %"}, "range": [min(-15.0, *errors) - 5.0, max(15.0, *errors) + 5.0]}


def _band(direction: str) -> list[dict[str, Any]]:
    """Errors of 10 % to either side, and none, as shapes across the other axis."""
    along, across = ("x", "y") if direction == "x" else ("y", "x")
    base = {f"{across}ref": "paper", f"{across}0": 0, f"{across}1": 1, f"{along}ref": along, "layer": "below"}
    edges = {f"{along}0": -100 * NEAR, f"{along}1": 100 * NEAR}
    return [
        {**base, **edges, "type": "rect", "fillcolor": BAND, "line": {"width": 0}},
        {**base, f"{along}0": 0, f"{along}1": 0, "type": "line", "line": {"color": LINE, "width": 1}},
    ]


def errors_by_batch(points: Sequence[Record]) -> Figure:
    """Signed errors over tokens a call."""
    traces = [
        _scatter(
            [p["batch"] for p in own], [100 * p["error"] for p in own], mode="markers", name=_text(name),
            marker=_marker(name), hovertext=[hover(p) for p in own], hoverinfo="text",
        )
        for name, own in _by_kind(points).items()
    ]  # fmt: skip
    return _figure(traces, 460, _log("tokens a call (B)"), _errors(points), shapes=_band("y"))


def errors_by_kind(points: Sequence[Record]) -> Figure:
    """Signed errors of each kind: every point, with median and quartiles."""
    kinds = _by_kind(points)
    traces = [
        {
            "type": "box",
            "orientation": "h",
            "x": [100 * p["error"] for p in own],
            "y": [_broken(name)] * len(own),
            "name": _broken(name),
            "boxpoints": "all",
            "pointpos": 0,
            "jitter": 0.6,
            "marker": _marker(name, 6),
            "line": {"color": KINDS.get(name, _OTHER)[0], "width": 1},
            "fillcolor": BAND,
            "hoveron": "points",
            "hovertext": [hover(p) for p in own],
            "hoverinfo": "text",
            "showlegend": False,
        }
        for name, own in kinds.items()
    ]
    return _figure(traces, 120 + 48 * len(kinds), _errors(points), {"autorange": "reversed"}, shapes=_band("x"))


def _broken(name: str) -> str:
    """A kind in two lines, for the axis of a narrow figure."""
    return _text(name).replace(", ", ",<br>")


def errors_by_dtype(points: Sequence[Record]) -> Figure:
    """Signed errors of each data type; the kinds lie beside each other."""
    dtypes = sorted({p["dtype"] for p in points})
    kinds = _by_kind(points)
    traces = []
    for k, (name, own) in enumerate(kinds.items()):
        aside = 0.7 * (k / max(len(kinds) - 1, 1) - 0.5)
        traces.append(
            _scatter(
                [100 * p["error"] for p in own], [dtypes.index(p["dtype"]) + aside for p in own], mode="markers",
                name=_text(name), marker=_marker(name, 7), hovertext=[hover(p) for p in own], hoverinfo="text", showlegend=False,
            )
        )  # fmt: skip
    axis = {
        "tickvals": list(range(len(dtypes))),
        "ticktext": [_text(d) for d in dtypes],
        "range": [len(dtypes) - 0.5, -0.5],
    }
    return _figure(traces, 120 + 48 * len(dtypes), _errors(points), axis, shapes=_band("x"))


def roofline(found: Record) -> Figure:
    """Operations a second over operations for each byte, of one thread; bounds of the host, and measured kernels."""
    points, bounds = operating(found["points"]), roofs(found)
    low, high = min(o.intensity for o in points) / 2.0, max(o.intensity for o in points) * 2.0
    peak = max((r.rate for r in bounds if r.dtype), default=max(o.rate for o in points) * 2.0)
    traces = [_roof(r, low, high, peak) for r in bounds]
    groups: dict[tuple[str, str], list[Operating]] = {}
    for o in sorted(points, key=lambda o: o.threads):  # the legend shows a group's first marker
        groups.setdefault((o.operator, o.dtype), []).append(o)
    traces += [_operating(operator, dtype, groups[operator, dtype]) for operator, dtype in sorted(groups)]
    return _figure(traces, 620, _log("operations for each byte, op/byte", low, high), _log("Gop/s a thread"))


def _roof(r: Roof, low: float, high: float, peak: float) -> Trace:
    if r.dtype:
        x, y = [low, high], [r.rate, r.rate]
        line = {"color": DTYPES.get(r.dtype, GREY), "width": 2, "dash": "longdash"}
    else:
        end = min(high, max(low, peak / r.rate))
        x, y = [low, end], [low * r.rate, end * r.rate]
        line = {"color": GREY, "width": 1 if r.shared else 2, "dash": _LEVEL_DASHES.get(r.level, "solid")}
    unit = "Gop/s" if r.dtype else "GB/s"
    name = f"{r.name}: {number(r.rate / 1e9)} {unit}"
    return _scatter(x, [value / 1e9 for value in y], mode="lines", line=line, name=name, hoverinfo="name")


def _operating(operator: str, dtype: str, own: Sequence[Operating]) -> Trace:
    symbol = "circle" if operator == "gemm_ffn" else "diamond"
    symbols = [symbol if o.threads == 1 else f"{symbol}-open" for o in own]
    return _scatter(
        [o.intensity for o in own], [o.rate / 1e9 for o in own], mode="markers",
        name=_text(f"{'GEMM FFN' if operator == 'gemm_ffn' else operator} {dtype}"),
        marker={"color": DTYPES.get(dtype, GREY), "size": 8, "symbol": symbols},
        hovertext=[_said(o) for o in own], hoverinfo="text",
    )  # fmt: skip


def _said(o: Operating) -> str:
    bandwidth = o.rate / o.intensity
    return (
        f"{_text(o.label)}<br>{number(o.intensity)} op/byte, {number(o.rate / 1e9)} Gop/s for each of "
        f"{plural(o.threads, 'thread')}<br>{number(bandwidth / 1e9)} GB/s a thread"
    )


def packed(found: Mapping[str, Figure]) -> str:
    """Figures as JSON for a script element: no '<' could end it."""
    return json.dumps(found, allow_nan=False).replace("<", "\\u003c")
