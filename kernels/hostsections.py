"""The sections of a detected spec that the host itself tells something about: clock, core, caches, memory."""

from __future__ import annotations

import re

from kernels.host import CacheInstance, HostObservation
from kernels.hostmatch import Part
from kernels.hostshape import Shape, counted_cores
from kernels.hosttext import Leaf, estimated, hertz_text, measured, plain_number
from simulator.machine import CacheLevel, Curve, Isa, Machine, interpolate_log
from simulator.units import Dimension, format_quantity

_DESKTOP = re.compile(r"\bCore\(TM\)|\bIntel Core\b|\b(?:Ryzen|Athlon|Pentium|Celeron)\b(?!.*Threadripper)")

# Drivers whose cpuinfo_max_freq is the highest boost clock; acpi-cpufreq's may be the one without boost.
_BOOST_DRIVERS = frozenset(
    ("intel_pstate", "intel_cpufreq", "amd-pstate", "amd-pstate-epp", "amd_pstate", "cppc_cpufreq")
)


def clock_section(observation: HostObservation, base: Machine, isa: tuple[Isa, ...], cores: int) -> dict[str, object]:
    """The base's curves up to this host's cores, scaled or capped where the system tells the highest clock."""
    source, factor, cap = clock_rule(observation, base)
    section: dict[str, object] = {"provenance": "estimated", "source": source}
    needs = {"scalar": True, "avx2": "avx2" in isa, "avx512": "avx512" in isa, "neon": "neon" in isa}
    needs["amx"] = "amx_bf16" in isa or "amx_int8" in isa
    for name in ("scalar", "avx2", "avx512", "amx", "neon"):
        curve: Curve = getattr(base.clock, name)
        if not curve:
            continue
        if not needs[name]:
            section[name] = None
            continue
        points = [(x, y) for x, y in curve if x < cores] + [(float(cores), float(interpolate_log(curve, cores)))]
        section[name] = {int(x) if float(x).is_integer() else x: hertz_text(min(y * factor, cap)) for x, y in points}
    clock = observation.clock
    if clock.base_hz:
        section["base"] = measured(hertz_text(clock.base_hz), "sysfs cpu0/cpufreq/base_frequency")
    return section


def clock_rule(observation: HostObservation, base: Machine) -> tuple[str, float, float]:
    """(source text, factor on the base's curves, upper bound in hertz)."""
    clock, unlimited = observation.clock, float("inf")
    kept = f"curve of {base.id} kept"
    if observation.hypervisor:
        counter = (
            f": the advertised {hertz_text(clock.counter_hz)} is the time-stamp counter" if clock.counter_hz else ""
        )
        return (
            f"{kept} for few active cores{counter}, a virtual machine hides the core clock, "
            "and other tenants' load on the socket lowers it unseen",
            1.0,
            unlimited,
        )
    if clock.boost is False:
        nominal = clock.base_hz or base.clock.base_hz or unlimited
        return f"{kept}, capped at the base clock: boost is switched off in sysfs", 1.0, nominal
    top = max(y for _, y in base.clock.scalar)
    if clock.maximum_hz and clock.driver in _BOOST_DRIVERS:
        if abs(clock.maximum_hz / top - 1.0) < 0.02:
            return (
                f"{kept}: sysfs cpufreq/cpuinfo_max_freq {hertz_text(clock.maximum_hz)} agrees with it",
                1.0,
                unlimited,
            )
        return (
            f"curve of {base.id} scaled so that its highest clock is sysfs cpufreq/cpuinfo_max_freq "
            f"{hertz_text(clock.maximum_hz)}; clocks of several active cores cannot be read",
            clock.maximum_hz / top,
            unlimited,
        )
    if clock.maximum_hz:
        driver = clock.driver or "unnamed"
        return (
            f"{kept}: the {driver} driver's cpuinfo_max_freq {hertz_text(clock.maximum_hz)} may leave out boost",
            1.0,
            unlimited,
        )
    return f"{kept}: no cpufreq in sysfs, so the core clock cannot be read", 1.0, unlimited


def core_section(base: Machine, isa: tuple[Isa, ...], part: Part | None) -> dict[str, object]:
    """Overrides where this host's instruction sets or pipes differ from the base's; nothing where they agree."""
    section: dict[str, object] = {}
    if base.core.matrix is not None and not {"amx_bf16", "amx_int8"} & set(isa):
        section["matrix"] = None
    vector: dict[str, object] = {}
    unit, hidden = base.core.vector, f"cpuinfo flags: not offered here, unlike {base.id}"
    share = part.vector_share if part else 1.0
    narrow = "avx2" in isa and "avx512" not in isa and unit.width_bits > 256
    if narrow:
        # AVX2 designs with AVX-512 descendants run two 256-bit FMAs a cycle, whatever their 512-bit rate.
        share *= max(1.0, 2.0 / unit.fma_per_cycle)
        vector["width"] = estimated("256 bit", hidden)
        vector["registers"] = estimated(16, hidden)
        if share == 1.0:
            for key, rate in (("load", base.core.load_bytes_per_cycle), ("store", base.core.store_bytes_per_cycle)):
                value = format_quantity(rate / 2, Dimension.BYTES_PER_CYCLE)
                section[f"{key}_bandwidth"] = estimated(value, f"half of {base.id}: 256-bit {key}s")
    if share != 1.0:
        reason = f"{share:g} x {base.id}: " + ("256-bit instructions" if narrow or part is None else part.design)
        for key, rate in (
            ("fma", unit.fma_per_cycle),
            ("alu", unit.alu_per_cycle),
            ("convert", unit.convert_per_cycle),
        ):
            vector[f"{key}_per_cycle"] = estimated(plain_number(rate * share), reason)
        value = format_quantity(unit.exp_cycles_per_vector / share, Dimension.CYCLES)
        vector["exp_per_vector"] = estimated(value, reason)
    vector |= _dot_products(base, isa, share, hidden)
    if vector:
        section["vector"] = vector
    return section


def _dot_products(base: Machine, isa: tuple[Isa, ...], share: float, hidden: str) -> dict[str, object]:
    """dot_* rates: zero where the instruction is hidden, one per FMA pipe where only this host has it."""
    features, unit = set(isa), base.core.vector
    integer = bool({"avx512_vnni", "avx_vnni", "i8mm"} & features)
    offered = {
        "dot_bf16": (bool({"avx512_bf16", "bf16"} & features), unit.dot_bf16_per_cycle),
        "dot_int16": (integer or ("neon" in features and unit.dot_int16_per_cycle > 0), unit.dot_int16_per_cycle),
        "dot_int8": (integer, unit.dot_int8_per_cycle),
    }
    section: dict[str, object] = {}
    for name, (there, rate) in offered.items():
        key = f"{name}_per_cycle"
        if not there and rate:
            section[key] = estimated(0, hidden)
        elif there and not rate and not (name == "dot_int16" and "neon" in features):
            section[key] = estimated(plain_number(unit.fma_per_cycle * share), f"one per FMA pipe: {base.id} lacks it")
        elif there and rate and share != 1.0:
            section[key] = estimated(plain_number(rate * share), f"{share:g} x {base.id}")
    return section


def cache_section(observation: HostObservation, base: Machine, shape: Shape) -> dict[str, object]:
    """Geometry of each level as read on the first usable core; what is not listed stays the base's, with the reason."""
    section: dict[str, object] = {}
    first = shape.members[0][0]
    found = {cache.level: cache for cache in data_caches(observation) if first in cache.shared_cpus}
    line = (found[1].line_bytes if 1 in found else None) or int(base.caches.L1.line_bytes)
    for level in (1, 2, 3, 4):
        inherited = getattr(base.caches, f"L{level}")
        instance = found.get(level)
        if inherited is None:
            continue
        if instance is not None and instance.size_bytes:
            section[f"L{level}"] = _cache(observation, instance, inherited, shape, line)
        elif observation.caches and not observation.hypervisor and level > 2:
            section[f"L{level}"] = None
        else:
            reason = "sysfs does not list this level" if observation.caches else "sysfs has no cpu*/cache folder here"
            kept: dict[str, object] = {
                "size": estimated(
                    format_quantity(inherited.size_bytes, Dimension.SIZE), f"kept from {base.id}: {reason}"
                )
            }
            if inherited.cores_per_instance > shape.cores:
                kept["cores_per_instance"] = estimated(
                    shape.cores, f"kept from {base.id}, but only these cores exist here"
                )
            if inherited.line_bytes != line:
                kept["line"] = estimated(format_quantity(line, Dimension.SIZE), "the L1's: the model has one line size")
            section[f"L{level}"] = kept
    return section


def data_caches(observation: HostObservation) -> tuple[CacheInstance, ...]:
    """Caches that hold data (all instances, as listed)."""
    return tuple(cache for cache in observation.caches if cache.kind in ("Data", "Unified"))


def _cache(
    observation: HostObservation, instance: CacheInstance, inherited: CacheLevel, shape: Shape, line_bytes: int
) -> dict[str, object]:
    """One level as read; `line_bytes` is the L1's, which the model uses at every level."""
    shared = set(instance.shared_cpus)
    listed = sum(1 for core in shape.members if shared & set(core))
    sharers = min(listed, shape.cores)
    bytes_ = instance.size_bytes or 0
    size_note = sharer_note = ""
    if instance.level >= 3 and observation.hypervisor:
        size_note = "nominal: other tenants of the socket use the same cache unseen, so less is effective"
        sharer_note = f"this virtual machine sees {counted_cores(listed)} on it; the part has more"
    if sharers < listed:
        sharer_note = f"{counted_cores(listed)} on it, but this process has {counted_cores(shape.cores)}"
    section: dict[str, object] = {
        "size": measured(format_quantity(bytes_, Dimension.SIZE), f"{instance.source}/size", size_note),
        "cores_per_instance": measured(sharers, f"{instance.source}/shared_cpu_list", sharer_note),
    }
    line = format_quantity(line_bytes, Dimension.SIZE)
    if instance.line_bytes == line_bytes:
        section["line"] = measured(line, f"{instance.source}/coherency_line_size")
    else:
        read = f"{instance.line_bytes} B in sysfs" if instance.line_bytes else "not in sysfs"
        section["line"] = estimated(line, f"the L1's: the model has one line size, this level's is {read}")
    if instance.ways and bytes_ % (instance.ways * line_bytes) == 0:
        section["ways"] = measured(instance.ways, f"{instance.source}/ways_of_associativity")
    else:
        fitting = (inherited.ways, 16, 12, 8, 4, 2, 1)
        ways = next(ways for ways in fitting if bytes_ % (ways * line_bytes) == 0 or ways == 1)
        reason = "sysfs gives ways that do not divide the size" if instance.ways else "sysfs gives no ways"
        section["ways"] = estimated(plain_number(ways), f"{reason}: a number that divides it")
    if instance.sets and instance.ways and instance.ways * instance.sets * line_bytes == bytes_:
        section["sets"] = measured(instance.sets, f"{instance.source}/number_of_sets")
    else:
        section["sets"] = None
    hidden = inherited.cores_per_instance - listed
    if instance.level >= 3 and observation.hypervisor and hidden > 0:
        fair = listed / inherited.cores_per_instance
        section["available_fraction"] = estimated(
            round(fair**0.5, 2),
            f"{hidden:g} more cores of the part share this cache unseen: between all of it (idle neighbours) and "
            f"{fair:.0%} (equally busy ones), the geometric mean",
        )
    return section


def memory_section(observation: HostObservation, base: Machine, shape: Shape) -> dict[str, object]:
    """Capacity as read; channels, rates and latency are the base's, which only a privileged program could check."""
    memory = base.memory
    source = f"kept from {base.id}: channels, rates and latency cannot be read without privileges"
    if observation.hypervisor:
        source += "; other tenants share the socket's memory, so few cores get what their own links and misses can pull"
    section: dict[str, object] = {"provenance": "estimated", "source": source}
    share = 1.0
    if _DESKTOP.search(observation.model_name) and memory.channels * memory.channel_bytes > 16:
        share = 16.0 / (memory.channels * memory.channel_bytes)  # two channels of 8 bytes
        section["source"] = (
            f"estimated as two channels of {base.id}'s memory: the model name is a desktop or mobile part's"
        )
    bandwidth = memory.bandwidth_bytes_per_second * share
    together = memory.read_bandwidth_bytes_per_second * share
    section["channels"] = plain_number(memory.channels * share)
    section["transfer_rate"] = format_quantity(memory.transfers_per_second, Dimension.TRANSFERS)
    section["bandwidth"] = format_quantity(bandwidth, Dimension.BANDWIDTH)
    section["read_bandwidth"] = format_quantity(together, Dimension.BANDWIDTH)
    section["latency"] = format_quantity(memory.latency_seconds, Dimension.TIME)
    for key in ("core_bandwidth", "link_bandwidth"):
        limit = getattr(memory, f"{key}_bytes_per_second")
        if limit is not None:
            section[key] = format_quantity(min(limit, together), Dimension.BANDWIDTH)
    section["capacity"] = _capacity(observation, base, shape)
    return section


def _capacity(observation: HostObservation, base: Machine, shape: Shape) -> Leaf:
    """Memory of one socket."""
    total = observation.memory_limit_bytes or observation.memory_bytes
    if not total:
        kept = format_quantity(base.memory.capacity_bytes, Dimension.SIZE)
        return estimated(kept, f"kept from {base.id}: /proc/meminfo cannot be read")
    value = format_quantity(total // shape.sockets, Dimension.SIZE)
    if observation.memory_limit_bytes:
        source, note = "cgroup memory limit", "the control group grants less than the machine has"
    else:
        source, note = "/proc/meminfo MemTotal", "what the kernel reserves is not in it"
    return measured(value, source, note if shape.sockets == 1 else f"{note}; divided by {shape.sockets} sockets")
