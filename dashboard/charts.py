"""Figures as pure functions of records (`simulator.records`): nothing here reads a file or knows a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which colour-blind readers tell apart; yellow left out: it vanishes on white."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star")
Records = Sequence[Mapping[str, Any]]


def speedup_over_batch(panels: Mapping[str, Records]) -> go.Figure:
    """Speed-up of look-up over GEMM against tokens per call: one panel a title, one line a machine.

    `panels` maps a panel's title to match records of one match kind; both axes are logarithmic, the bars are the 90 %
    interval, and the line at 1 is where the winner changes.
    """
    figure = make_subplots(
        rows=1, cols=len(panels), subplot_titles=list(panels), shared_yaxes=True, horizontal_spacing=0.04
    )
    machines = list(dict.fromkeys(r["machine_name"] for records in panels.values() for r in records))
    for column, records in enumerate(panels.values(), start=1):
        for index, machine in enumerate(machines):
            rows = sorted((r for r in records if r["machine_name"] == machine), key=lambda r: r["batch"])
            colour = PALETTE[index % len(PALETTE)]
            figure.add_trace(
                go.Scatter(
                    x=[r["batch"] for r in rows],
                    y=[r["speedup"] for r in rows],
                    error_y={
                        "type": "data",
                        "symmetric": False,
                        "array": [r["speedup_high"] - r["speedup"] for r in rows],
                        "arrayminus": [r["speedup"] - r["speedup_low"] for r in rows],
                        "thickness": 1,
                        "width": 2,
                    },
                    name=machine,
                    legendgroup=machine,
                    showlegend=column == 1,
                    mode="lines+markers",
                    line={"color": colour, "width": 2},
                    marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 7, "color": colour},
                ),
                row=1,
                col=column,
            )
        figure.add_hline(y=1.0, line={"color": "#666666", "width": 1, "dash": "dash"}, row=1, col=column)
        figure.update_xaxes(title_text="tokens per call", type="log", dtick=1, row=1, col=column)
    figure.update_yaxes(type="log", tickvals=[0.25, 0.5, 1, 2, 4, 8, 16], row=1)
    figure.update_yaxes(title_text="GEMM time / look-up time", col=1, row=1)
    figure.update_layout(
        template="plotly_white",
        font={"family": "DejaVu Sans, Arial, sans-serif", "size": 13, "color": "#222222"},
        legend={"orientation": "h", "y": -0.22, "x": 0.5, "xanchor": "center"},
        margin={"l": 70, "r": 20, "t": 40, "b": 110},
    )
    return figure
