"""A YAML spec of an observed host that inherits from the nearest shipped one.

What was read is `measured`, what could not be read is `estimated` with the reason; the header tells it.
"""

from __future__ import annotations

from kernels.host import HostObservation, observe
from kernels.hostmatch import VENDOR_NAMES, Match, find_part, hexadecimal, identity_of, match, usable_isa
from kernels.hostsections import cache_section, clock_rule, clock_section, core_section, data_caches, memory_section
from kernels.hostshape import Shape, counted_cores, shape_of
from kernels.hosttext import bare_values, comment_lines, measured, merge, yaml_lines
from simulator import yamlfile
from simulator.machine import Isa, Machine

_SMT_NOTE = "a virtual machine may present SMT siblings as cores: two of them would then share one core's pipes"


def detect_spec(observation: HostObservation | None = None) -> str:
    """The host's spec as YAML text that `simulator.specfile` reads; HostError where it cannot be described."""
    from simulator.specfile import load_machine

    seen = observe() if observation is None else observation
    return describe(seen, load_machine(match(seen).base_id))


def describe(observation: HostObservation, base: Machine) -> str:
    """The spec text of an observed host that inherits from `base`, the machine `match` named."""
    isa = _described_isa(observation, base)
    matched = match(observation)
    part = find_part(observation)
    shape = shape_of(observation)
    name = observation.model_name or (part.design if part else f"{_vendor(observation)} CPU")
    kind = " (virtual machine)" if observation.hypervisor else ""
    counted = ", ".join(
        (f"{shape.sockets} sockets",) * (shape.sockets > 1) + (counted_cores(shape.cores * shape.sockets),)
    )
    data: dict[str, object] = {
        "format_version": 1,
        "base": matched.base_id,
        "status": "detected",
        "name": f"{name}, {counted}{kind}",
        "vendor": _vendor(observation),
        "microarchitecture": part.design if part else f"unknown, described as {base.microarchitecture}",
        "cores_per_socket": measured(shape.cores, shape.cores_source, "; ".join(shape.notes)),
        "sockets": measured(shape.sockets, shape.sockets_source, shape.sockets_note),
        "threads_per_core": measured(
            observation.threads_per_core,
            "sysfs cpu*/topology/core_cpus_list",
            _SMT_NOTE if observation.hypervisor and observation.threads_per_core == 1 else "",
        ),
        "tdp": None,
        "notes": f"Detected. {matched.reason[0].upper()}{matched.reason[1:]} (confidence {matched.confidence}).",
        "isa": measured(list(isa), "cpuinfo flags"),
        "clock": clock_section(observation, base, isa, shape.cores),
    }
    if matched.confidence != "high":
        data |= {"year": None, **_borrowed(base, matched)}
    own = {
        "core": core_section(base, isa, part),
        "caches": cache_section(observation, base, shape),
        "memory": memory_section(observation, base, shape),
    }
    data = merge(data, own)
    return _header(observation, base, matched, shape, isa) + "".join(yaml_lines(data))


def _described_isa(observation: HostObservation, base: Machine) -> tuple[Isa, ...]:
    """The host's instruction sets without those that the base has no rates for."""
    dropped: set[str] = set()
    if base.core.matrix is None:
        dropped |= {"amx_bf16", "amx_int8"}
    if base.core.vector.width_bits < 512:
        dropped |= {"avx512", "avx512_bf16", "avx512_vnni"}
    return tuple(name for name in usable_isa(observation) if name not in dropped)


def _borrowed(base: Machine, matched: Match) -> dict[str, object]:
    """The base's microarchitecture restated as estimates: measured on the base, it is a guess for another design."""
    from simulator.specdump import dump_machine

    flat = yamlfile.load(base.id, dump_machine(base)).data
    origin: dict[str, object] = {"provenance": "estimated", "source": f"{base.id}'s value: {matched.reason}"}
    sections = ("core", "caches", "tlb", "prefetcher", "memory", "interconnect")
    return {name: origin | bare_values(flat[name]) for name in sections if name in flat}


def _vendor(observation: HostObservation) -> str:
    if observation.architecture == "aarch64":
        number = observation.implementer
        return VENDOR_NAMES.get(number or 0, f"Arm implementer {hexadecimal(number)}")
    return VENDOR_NAMES.get(observation.vendor, observation.vendor or "unknown")


def _header(observation: HostObservation, base: Machine, matched: Match, shape: Shape, isa: tuple[Isa, ...]) -> str:
    levels = sorted({cache.level for cache in data_caches(observation)})
    shown_caches = ", ".join(f"L{level}" for level in levels)
    read = [
        f"CPU: {observation.model_name or 'no model name'}; {identity_of(observation)}",
        f"topology: {len(observation.cpus)} CPUs online, {counted_cores(len(observation.cores))}, "
        f"{observation.sockets} socket{'s' * (observation.sockets > 1)}, "
        f"{observation.threads_per_core} thread{'s' * (observation.threads_per_core > 1)} a core",
        f"instruction sets: {', '.join(isa)}",
    ]
    if levels:
        read.append(f"caches: size, ways, line and sharing of {shown_caches}")
    if observation.memory_bytes:
        read.append(f"memory: {observation.memory_bytes / 2**30:.1f} GiB, {len(observation.numa_nodes)} NUMA node(s)")
    if observation.transparent_hugepages:
        read.append(f"transparent huge pages: {observation.transparent_hugepages}")
    unread = []
    if observation.hypervisor:
        unread.append(
            f"the part itself: this is a virtual machine ({observation.hypervisor_evidence}), "
            "which may hide its model, features, neighbours and SMT"
        )
    unread.append(f"core clock: {clock_rule(observation, base)[0]}")
    if not levels:
        unread.append("caches: no cpu*/cache folder in sysfs; all sizes are the base's")
    elif 3 not in levels and base.caches.L3 is not None:
        fate = "kept from the base" if observation.hypervisor else "taken as absent"
        unread.append(f"L3: not listed in sysfs; {fate}")
    unread.append("memory channels, transfer rate, bandwidth and latency: need privileges or a measurement")
    restated = "" if matched.confidence == "high" else ", restated here as estimates"
    unread.append(f"pipes, latencies, cache bandwidths, misses in flight, TLB, prefetchers: the base's{restated}")
    unsaid = [name for name in usable_isa(observation) if name not in isa]
    if unsaid:
        unread.append(f"rates of {', '.join(unsaid)}: {base.id} has none, so they are left out")
    missing = [name for name in base.isa if name not in isa]
    if missing:
        unread.append(f"hidden or absent against {base.id}: {', '.join(missing)}")
    unread += [note for note in (*shape.notes, shape.sockets_note) if note]
    lines = ["This host, as detected. Everything that is not stated here is inherited from the base.", ""]
    lines += ["Matched to " + f"{matched.base_id} with {matched.confidence} confidence: {matched.reason}.", "", "Read:"]
    lines += [f"- {text}" for text in read]
    lines += ["", "Not read, hence kept or estimated:"]
    lines += [f"- {text}" for text in unread]
    return "".join(comment_lines(line) for line in lines)
