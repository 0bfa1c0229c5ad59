"""Sections of a report on the host and the campaign: what was measured where, under which conditions, and every point of it."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.tables import number, size
from validate.points import PAGES
from validate.reportgrid import NONE, Grid, Record, Section, interval, micros, moment, plural, signed
from validate.tables import before_value, percent, unit

_PAGES = {size_bytes: name for name, size_bytes in PAGES.items()}


def title(found: Record) -> str:
    """The report's heading."""
    return f"Predictions held against measurements: {found['host_id']}"


def head(found: Record) -> tuple[str, ...]:
    """Host, date, seed, mode, and when the predictions were made."""
    host = found["measured_host"]
    frozen = found["predictions_frozen"]
    when = f"frozen {moment(frozen)}, before the held-out rounds" if frozen else "recomputed by the model as it is now"
    kind = ", virtual machine" if host["virtual_machine"] else ""
    return (
        f"Host: {host['processor']}, {plural(host['usable_cpus'], 'core')}{kind}",
        f"Measured: {moment(found['started'])} to {moment(found['ended'])}",
        f"Seed {found['seed']}, mode {found['mode']}",
        f"Predictions: {when}",
    )


def parameters(found: Record) -> Section:
    """Calibrated parameters and refusals."""
    rows = []
    for p in found["parameters"]:
        factor, name = unit(p["name"])
        low, high = (number(p[key] * factor) for key in ("low_90", "high_90"))
        rows.append((p["name"], before_value(p), number(p["after"] * factor), f"{low} to {high}", name, p["probe"],
                     "at its bound" if p["at_bound"] else ""))  # fmt: skip
    columns = ("path in the spec", "before", "after", "90 % interval", "unit", "told by", "bound")
    grid = Grid(
        columns,
        tuple(rows),
        ("path in the spec", "unit", "told by", "bound"),
        plural(len(rows), "parameter"),
        folded=True,
    )
    bound = sum(p["at_bound"] for p in found["parameters"])
    sentences = [
        f"{plural(len(rows), 'parameter')}, {bound} at a bound." if rows else "No calibrated parameters in this record."
    ]
    sentences += [f"Not told by any probe: {reason}." for reason in found["refused"]] or ["Refused: none."]
    return Section("Calibrated parameters", tuple(sentences), (), (grid,) if rows else ())


def conditions(found: Record) -> Section:
    """What the numbers depend on beside the program."""
    rows = (*_measured(found), *_host(found["measured_host"]))
    grid = Grid(("what", "value"), rows, ("what", "value"))
    return Section("Conditions of the measurement", (), (), (grid,))


def _measured(found: Record) -> Iterator[tuple[str, str]]:
    c = found["conditions"]
    if c["clock_hz_range"]:
        first, last, low, high = (
            f"{hz / 1e9:.2f}" for hz in (c["clock_hz_first"], c["clock_hz_last"], *c["clock_hz_range"])
        )
        yield "clock", f"{first} GHz in the first round, {last} GHz in the last, {low} to {high} GHz over all"
    yield "rounds", f"{c['rounds']}, {c['drifted_rounds']} drifted, {c['repeated_rounds']} of them repeated"
    yield "steal time", NONE if c["steal_seconds"] is None else f"{c['steal_seconds']:.2f} s of all CPUs together"
    after = NONE if c["load_after"] is None else f"{c['load_after']:.2f}"
    yield "load average (1 min)", f"{c['load_before']:.2f} before, {after} after"
    for r in c["pages"]:
        seen = "" if r["verified"] else ", could not be verified"
        got = f"{size(r['huge_bytes'])} of {size(r['region_bytes'])} in huge pages{seen}"
        yield f"pages of {_PAGES.get(r['requested_page_bytes']) or size(r['requested_page_bytes'])} asked for", got
    yield "resumed", ", ".join(map(moment, c["resumed"])) or NONE
    yield "model version", found["model"]
    for step, taken in found["seconds"].items():
        yield f"time of {step}", f"{taken:.0f} s"


def _host(host: Record) -> Iterator[tuple[str, str]]:
    yield "compiler", host.get("compiler", NONE)
    yield "libraries", ", ".join(f"{name} {version}" for name, version in host["libraries"].items()) or NONE
    yield (
        "caches",
        ", ".join(f"L{c['level']} {size(c['size_bytes'])} of {plural(c['cpus'], 'CPU')}" for c in host["caches"])
        or NONE,
    )
    for name in ("memory_bytes", "logical_cpus", "cpu_quota", "transparent_hugepages", "kernel", "python_version",
                 "lookupsim_version"):  # fmt: skip
        value = host.get(name)
        if name == "memory_bytes" and value:
            yield "memory", size(value)
        elif value is not None:
            yield name.replace("_", " "), str(value)


def every_point(found: Record) -> Section:
    """All points with their errors."""
    rows = tuple(
        (
            " ".join(part for part in (p["operator"], p["library"]) if part),
            p["dtype"],
            _shape(p),
            str(p["batch"]),
            p["variant"] or "-",
            str(p["threads"]),
            p["residency"],
            p["pages"],
            f"{p['skew']:g}" if p["skew"] else "-",
            micros(p["measured_seconds"]),
            percent(p["noise_floor"]),
            micros(p["predicted_seconds"]),
            interval(p),
            signed(p["error"]),
        )
        for p in found["points"]
    )
    if not rows:
        return Section("Every point", (NONE,))
    columns = ("operator", "dtype", "shape", "B", "variant", "threads", "residency", "pages", "zipf", "measured µs",
               "noise floor %", "predicted µs", "90 % interval µs", "error %")  # fmt: skip
    left = ("operator", "dtype", "shape", "variant", "residency", "pages")
    text = "Times of a call and layer. Shapes: d-h of a GEMM, tables x rows x columns of a look-up, d->tables x rows of a stage."
    return Section("Every point", (text,), (), (Grid(columns, rows, left, plural(len(rows), "point"), folded=True),))


def _shape(p: Record) -> str:
    """The shape out of a label; the whole label where it is built otherwise."""
    head = " ".join(part for part in (p["operator"], p["library"], p["dtype"]) if part) + " "
    label: str = p["label"]
    return label.removeprefix(head).split(" B=", 1)[0] if label.startswith(head) else label
