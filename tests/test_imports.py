"""Imports run one way; engines know phases, never operators; the model touches neither processes nor plots."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SIMULATOR = ROOT / "simulator"

MAY_IMPORT: dict[str, set[str]] = {
    "units": set(),
    "yamlfile": set(),
    "machine": {"units"},
    "schema": {"machine"},
    "workload": set(),
    "spectree": {"units", "yamlfile", "machine", "schema"},
    "specvalue": {"units", "yamlfile", "machine", "schema", "spectree"},
    "speccheck": {"units", "yamlfile", "machine"},
    "specset": {"units", "yamlfile", "machine", "schema", "spectree", "specvalue"},
    "specfile": {"yamlfile", "machine", "schema", "speccheck", "specset", "spectree", "specvalue"},
    "specdump": {"units", "yamlfile", "machine", "schema"},
    "workloadreader": {"units", "yamlfile"},
    "indexfile": {"yamlfile", "workload", "workloadreader"},
    "huggingface": {"yamlfile", "workloadreader"},
    "workloadfile": {"yamlfile", "workload", "workloadreader", "indexfile", "huggingface"},
    "resources": {"machine"},
    "cachegeometry": {"machine"},
    "prefetchcover": {"cachegeometry"},
    "cachekernel": set(),
    "tagrow": set(),
    "plainkernel": {"compiled", "tagrow"},
    "tracesim": {"cachegeometry", "cachekernel", "plainkernel"},
    "schedule": set(),
    "phases": set(),
    "incore": {"phases", "resources"},
    "locality": {"phases", "resources", "machine"},
    "lowering": {"phases", "resources"},
    "compiled": set(),
    "setkernel": {"compiled"},
    "gatherstate": set(),
    "gathernest": {"compiled", "gatherstate"},
    "rowkernel": {"compiled", "gatherstate", "setkernel"},
    "nearkernel": {"compiled", "gathernest", "gatherstate", "rowkernel"},
    "gatherkernel": {"compiled", "gathernest", "gatherstate", "rowkernel", "nearkernel", "setkernel"},
    "rowreuse": {"rowkernel", "workload"},
    "lookup_reuse": {"gatherkernel", "gatherstate", "locality", "lowering", "machine", "phases", "resources", "rowreuse",
                     "schedule", "workload"},
    "microbench": {"lowering", "phases", "randomrows", "resources", "rowreuse", "workload"},
    "randomrows": {"locality", "resources"},
    "lower_gemm": {"lowering", "phases", "resources", "schedule", "workload", "machine"},
    "lower_lookup": {"lookup_reuse", "lowering", "phases", "resources", "schedule", "workload", "machine"},
    "dealing": {"phases"},
    "analytic": {"dealing", "incore", "locality", "phases", "prefetchcover", "resources"},
    "eventprogram": set(),
    "eventplaces": {"eventprogram", "resources"},
    "eventsources": {"analytic", "eventplaces", "incore", "locality", "phases", "resources"},
    "eventplan": {"analytic", "dealing", "eventplaces", "eventprogram", "eventsources", "phases", "resources"},
    "eventaccount": {"eventprogram"},
    "events": {"eventaccount", "eventplaces", "eventplan", "eventprogram", "phases", "resources"},
    "misscurves": {"machine", "resources"},
    "calibrate": {"analytic", "machine", "microbench", "misscurves", "resources"},
    "mapper": {"schedule", "workload"},
    "timeline": set(),
    "eventtimeline": {"events", "timeline"},
    "enginereport": {"events", "explain", "machine", "predict", "workload"},
    "eventskew": {"eventplaces", "resources", "workload"},
    "predict": {"analytic", "eventplaces", "eventplan", "eventprogram", "events", "eventskew",
                "incore", "lower_gemm", "lower_lookup",
                "lowering", "machine", "mapper", "phases", "resources", "schedule", "workload"},
    "uncertainty": {"machine", "schema", "units"},
    "explain": {"analytic", "events", "machine", "predict", "uncertainty", "workload"},
    "comparison": {"explain", "machine", "predict", "workload"},
    "levers": {"machine", "predict", "workload"},
    "records": {"comparison", "enginereport", "events", "explain", "machine", "predict"},
    "tables": {"comparison", "enginereport", "events", "explain", "levers", "predict", "workload"},
    "addressmap": set(),
    "touches": set(),
    "rowindices": {"workload"},
    "addresstasks": {"touches"},
    "addresses_places": {"addressmap", "addresstasks", "schedule", "workload"},
    "addresses_lookup": {"addresses_places", "addressmap", "addresstasks", "rowindices", "schedule", "touches", "workload"},
    "addresses_gemm": {"addressmap", "addresstasks", "lower_gemm", "schedule", "touches", "workload"},
    "addresses": {"addresses_gemm", "addresses_lookup", "addresstasks", "schedule", "workload"},
    "tracechunk": set(),
    "tracelackey": {"tracechunk"},
    "tracechampsim": {"tracechunk"},
    "tracenpz": {"tracechunk"},
    "tracefile": {"tracechampsim", "tracechunk", "tracelackey", "tracenpz"},
    "workloadtrace": {"addresses", "tracechunk"},
    "instructioncache": {"cachegeometry", "tracechunk"},
    "tracerun": {"cachegeometry", "instructioncache", "tracechunk", "tracesim"},
    "reusedistance": set(),
    "tracestats": {"reusedistance", "tracechunk"},
    "tracerecords": {"cachegeometry", "tracerun", "tracestats"},
    "tracetables": set(),
}  # fmt: skip
"""Module -> modules of simulator/ that it may import; cli* is the composition root and exempt."""

FORBIDDEN = {"pandas", "plotly", "streamlit", "dask", "subprocess", "socket", "requests", "urllib"}
HOST_TIME = {"time", "datetime", "platform", "random"}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> list[str]:
    """Modules of simulator/ without the command line."""
    names = (path.stem for path in SIMULATOR.glob("*.py"))
    return sorted(name for name in names if not name.startswith(("cli", "__")))


def siblings(name: str) -> set[str]:
    """Modules of simulator/ that one of them imports."""
    known = {path.stem for path in SIMULATOR.glob("*.py")}
    parts = (item.split(".") for item in imports(SIMULATOR / f"{name}.py") if item.startswith("simulator."))
    return {part[1] for part in parts if part[1] in known}


def test_every_module_is_placed() -> None:
    assert set(modules()) == set(MAY_IMPORT)


@pytest.mark.parametrize("name", modules())
def test_imports_run_one_way(name: str) -> None:
    assert siblings(name) <= MAY_IMPORT[name]


@pytest.mark.parametrize("name", modules())
def test_the_model_touches_no_process_plot_or_clock(name: str) -> None:
    roots = {item.split(".")[0] for item in imports(SIMULATOR / f"{name}.py")}
    assert not roots & (FORBIDDEN | HOST_TIME | {"kernels", "dashboard", "validate", "studies"})


def test_engines_know_no_operator() -> None:
    for name in ("analytic", "incore", "locality", "resources"):
        assert not siblings(name) & {"workload", "schedule", "lower_gemm", "lower_lookup"}


def test_the_graph_has_no_cycle() -> None:
    graph = {name: siblings(name) for name in modules()}
    order: list[str] = []
    while graph:
        ready = [name for name, needs in graph.items() if not needs - set(order)]
        assert ready, f"cycle among {sorted(graph)}"
        order += ready
        for name in ready:
            del graph[name]
