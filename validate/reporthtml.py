"""A report as one self-contained HTML page: its script, styles and data are inside, and it may load nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from validate.reportfigures import Figure, packed
from validate.reportgrid import MET, MISSED, Grid, Section

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the page may do, which its browser enforces: run what is inside, load nothing."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --dim: #5a636d; --page: #ffffff; --line: #d5dae0; --raised: #f4f6f8;
  --met: #00694c; --missed: #a84300; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --dim: #9ea7b1; --page: #15181c; --line: #3a4149;
  --raised: #1f242a; --met: #4fc9a2; --missed: #ff9a57; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem clamp(0.75rem, 3vw, 2.5rem) 4rem; max-width: 1240px; color: var(--ink);
  background: var(--page); font: 16px/1.5 system-ui, "DejaVu Sans", Arial, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 0.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 0.5rem; }
p { max-width: 78ch; margin: 0.5rem 0; overflow-wrap: anywhere; }
ul.head { list-style: none; margin: 0 0 1rem; padding: 0; color: var(--dim); }
p.verdict { font-size: 1.1rem; font-weight: 600; }
.dim, caption { color: var(--dim); font-size: 0.875rem; }
.scroll { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; width: max-content; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 0.25rem; }
th, td { padding: 0.25rem 0.6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; white-space: normal; max-width: 11em; font-weight: 600; }
.word { text-align: left; }
td.word.long { white-space: normal; max-width: 21em; overflow-wrap: anywhere; }
@media (max-width: 560px) { td.word, td.word.long { white-space: normal; max-width: 50vw; } }
.met { color: var(--met); }
.missed { color: var(--missed); font-weight: 600; }
details { border: 1px solid var(--line); border-radius: 6px; margin: 0.75rem 0; padding: 0 0.75rem; }
summary { cursor: pointer; padding: 0.5rem 0; }
details td.word.long { white-space: nowrap; max-width: none; }
details .scroll { max-height: 80vh; overflow: auto; }
details thead th { position: sticky; top: 0; background: var(--page); }
th button { all: unset; cursor: pointer; }
th button:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 2px solid #56b4e9; outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
.figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; }
.figure { min-width: 0; grid-column: 1 / -1; }
.figure.half { grid-column: auto; }
@media (max-width: 800px) { .figure.half { grid-column: 1 / -1; } }
"""

SCRIPT = """
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function layoutOf(figure, width) {
  const layout = structuredClone(figure.layout), narrow = width < 560;
  const ink = colour("--ink"), line = colour("--line");
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", width: width,
    font: { color: ink, size: narrow ? 11 : 13, family: "system-ui, DejaVu Sans, Arial, sans-serif" },
    hoverlabel: { bgcolor: colour("--raised"), bordercolor: line, font: { color: ink, size: 12 }, align: "left" } });
  for (const axis of [layout.xaxis, layout.yaxis])
    Object.assign(axis, { gridcolor: line, linecolor: line, tickcolor: line, showline: true, ticks: "outside" });
  const entries = figure.data.filter(trace => trace.showlegend !== false && trace.name);
  if (entries.length > 1) {
    const longest = Math.max(...entries.map(trace => trace.name.length)) * (narrow ? 6.5 : 8) + 50;
    const rows = Math.ceil(entries.length / Math.max(1, Math.floor((width - 20) / longest)));
    layout.margin.b = (narrow ? 48 : 56) + rows * (narrow ? 18 : 21);
    layout.height += rows * (narrow ? 18 : 21) - (narrow ? 80 : 0);
    layout.showlegend = true;
  }
  return layout;
}
function draw() {
  for (const place of document.querySelectorAll(".figure")) {
    const figure = figures[place.id];
    if (figure) Plotly.react(place, figure.data, layoutOf(figure, place.clientWidth), { displayModeBar: false });
  }
}
function sortable(table) {
  const number = cell => parseFloat(cell.textContent.replace(/,/g, ""));
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
      const words = head.classList.contains("word");
      const order = (a, b) => {
        const [x, y] = [a.cells[column], b.cells[column]];
        return down * (words ? x.textContent.localeCompare(y.textContent) : (number(x) || 0) - (number(y) || 0));
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    });
  });
}
document.querySelectorAll("details table").forEach(sortable);
draw();
dark.addEventListener("change", draw);
let waiting = 0;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 100); });
"""

LONG = 40
"""Words of more characters may wrap in their cell."""

HALVES = ("errors_by_kind", "errors_by_dtype")
"""Figures that lie side by side where there is room."""


def _text(text: str) -> str:
    """Escaped, with the sign of per cent beside its number."""
    return escape(text).replace(" %", "&nbsp;%")


def _cell(tag: str, text: str, word: bool) -> str:
    marks = ["word"] if word else []
    marks += ["long"] if word and tag == "td" and len(text) > LONG else []
    marks += [name for mark, name in ((MET, "met"), (MISSED, "missed")) if text.endswith(mark)]
    scope = ' scope="col"' if tag == "th" else ""
    names = f' class="{" ".join(marks)}"' if marks else ""
    return f"<{tag}{scope}{names}>{_text(text)}</{tag}>"


def table(grid: Grid) -> str:
    """A table that scrolls on its own; within a details element where it is folded."""
    words = [column in grid.left for column in grid.columns]
    head = "".join(_cell("th", column, word) for column, word in zip(grid.columns, words, strict=True))
    rows = "\n".join(
        f"<tr>{''.join(_cell('td', text, word) for text, word in zip(row, words, strict=True))}</tr>" for row in grid.rows
    )  # fmt: skip
    caption = f"<caption>{escape(grid.caption)}</caption>" if grid.caption and not grid.folded else ""
    name = escape(grid.caption or grid.columns[0])
    found = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )
    return f"<details><summary>{name}</summary>{found}</details>" if grid.folded else found


def _place(name: str) -> str:
    """Where the script draws a figure."""
    half = " half" if name in HALVES else ""
    return f'<div class="figure{half}" id="{name}" role="img" aria-label="{name.replace("_", " ")}"></div>'


def _section(section: Section, drawn: Mapping[str, Figure]) -> str:
    parts = [f"<h2>{_text(section.title)}</h2>", *(f"<p>{_text(sentence)}</p>" for sentence in section.sentences)]
    names = [name for name in section.figures if name in drawn]
    if names:
        places = "".join(_place(name) for name in names)
        parts += [f'<p class="dim">{_text(section.caption)}</p>', f'<div class="figures">{places}</div>']
    elif section.figures and not section.sentences:
        parts.append("<p>none</p>")
    parts += [table(grid) for grid in section.grids]
    return "<section>" + "\n".join(parts) + "</section>"


def page(
    title: str, head: Sequence[str], verdict: str, sections: Sequence[Section], drawn: Mapping[str, Figure]
) -> str:
    """The whole report; plotly's script is inside once, and only if something is drawn."""
    scripts = ""
    if drawn:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

        scripts = (
            f"<script>{get_plotlyjs()}</script>\n"
            f'<script type="application/json" id="figures">{packed(drawn)}</script>\n<script>{SCRIPT}</script>\n'
        )
    body = "\n".join(_section(section, drawn) for section in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<ul class="head">{"".join(f"<li>{escape(line)}</li>" for line in head)}</ul>
<p class="verdict">{_text(verdict)}</p>
<noscript><p>Figures need JavaScript; the tables hold the same numbers.</p></noscript>
{body}
{scripts}</body>
</html>
"""
