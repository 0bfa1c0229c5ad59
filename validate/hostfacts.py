"""What a measurement depends on beside the program: the CPU as it shows itself, pages, compiler, libraries, load, steal time."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path
from typing import Any

from kernels.build import BuildError, find_compiler
from kernels.gemmlibrary import LIBRARIES, load_library
from kernels.host import HostError, HostObservation, observe
from kernels.library import KernelError
from simulator.specfile import SPEC_FOLDER

SAME_HOST = ("processor", "family", "model", "logical_cpus", "usable_cpus", "caches")
"""What must not change within a campaign, nor between a calibrated spec and the host that it is for."""

LONGEST_NAME = 60
"""Letters of a processor's name in a file name."""


def host_facts(cpus: tuple[int, ...]) -> dict[str, Any]:
    """Facts for the first line of a campaign. Raises HostError."""
    from simulator import __version__

    seen = observe()
    facts: dict[str, Any] = {
        "lookupsim_version": __version__,
        **identity(seen, len(cpus)),
        "cpu_quota": seen.cpu_quota,
        "memory_bytes": seen.memory_bytes,
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "transparent_hugepages": seen.transparent_hugepages,
        "kernel": platform.release(),
        "python_version": platform.python_version(),
        "libraries": {},
    }
    with contextlib.suppress(BuildError):
        facts["compiler"] = find_compiler().version
    for name in LIBRARIES:
        with contextlib.suppress(KernelError, BuildError):
            used = load_library(name)
            facts["libraries"][name] = f"{used.version} ({used.core_type})"
    return facts


def identity(seen: HostObservation, usable: int) -> dict[str, Any]:
    """What tells a host from others."""
    caches = sorted({(c.level, c.size_bytes or 0, len(c.shared_cpus)) for c in seen.caches if c.kind != "Instruction"})
    return {
        "processor": seen.model_name,
        "vendor": seen.vendor,
        "family": seen.family,
        "model": seen.model,
        "stepping": seen.stepping,
        "architecture": seen.architecture,
        "virtual_machine": seen.hypervisor,
        "logical_cpus": len(seen.cpus),
        "usable_cpus": usable,
        "caches": [{"level": level, "size_bytes": size, "cpus": n} for level, size, n in caches],
    }


def calibrated_spec(folder: Path = SPEC_FOLDER / "calibrated") -> Path | None:
    """The calibrated spec of this host, if `python -m validate` wrote one. Raises HostError."""
    path = folder / f"{host_id(identity(observe(), len(usable_cpus())))}.yaml"
    return path if path.is_file() else None


def host_id(facts: dict[str, Any]) -> str:
    """A file name for the host: 'amd-epyc-f26m2-2c-vm'."""
    words = re.sub(r"\(.*?\)|processor|cpu|@.*", "", str(facts["processor"]).lower())
    names = (
        re.sub(r"[^a-z0-9]+", "-", text)[:LONGEST_NAME].strip("-")
        for text in (words, str(facts["architecture"]).lower())
    )
    name = next(filter(None, names), "host")
    parts = [name, f"f{facts['family']}m{facts['model']}", f"{facts['usable_cpus']}c"]
    return "-".join(parts + (["vm"] if facts["virtual_machine"] else []))


def why_another(facts: dict[str, Any], others: dict[str, Any]) -> str:
    """What tells two hosts apart, '' for one and the same."""
    for name in SAME_HOST:
        if facts.get(name) != others.get(name):
            return f"{name} is {facts.get(name)}, there {others.get(name)}"
    return ""


def load_average() -> float:
    """Runnable processes, mean of a minute."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return 0.0


def steal_seconds() -> float:
    """CPU time that the hypervisor gave to others, all CPUs together, since boot (0 where Linux does not tell)."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def usable_cpus() -> tuple[int, ...]:
    """The CPUs to pin to. Raises HostError where there is no Linux to ask."""
    from kernels.timing import usable_cpus as usable

    if not hasattr(os, "sched_getaffinity"):
        raise HostError("threads cannot be pinned on this system: python -m validate measures on Linux only")
    return usable()
