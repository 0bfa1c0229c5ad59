"""The CPU this program runs on, as a spec: observe -> match -> describe.

Only `observe` touches the host, and only by reading text below a root folder, so that a recorded `/proc` and `/sys`
replays any machine. `match` names the nearest shipped spec from a table. `detect_spec` writes a YAML spec that inherits
from it: what was read is `measured`, what could not be read is `estimated` with the reason; the header tells it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from simulator import yamlfile
from simulator.machine import CacheLevel, Curve, Isa, Machine, interpolate_log
from simulator.units import Dimension, format_quantity

Confidence = Literal["high", "medium", "low"]


class HostError(Exception):
    """This host cannot be described; the message is one sentence for the user."""


# --- what was seen ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogicalCpu:
    """One online logical CPU. `siblings` are the logical CPUs of its physical core, itself included."""

    number: int
    socket: int
    siblings: tuple[int, ...]


@dataclass(frozen=True)
class CacheInstance:
    """One cache as the kernel lists it; `shared_cpus` are the online logical CPUs on it. None: not readable."""

    level: int
    kind: str
    size_bytes: int | None
    ways: int | None
    sets: int | None
    line_bytes: int | None
    shared_cpus: tuple[int, ...]
    source: str


@dataclass(frozen=True)
class NumaNode:
    """One NUMA node. Its memory is for the record only: with hot-plugged memory it disagrees with /proc/meminfo."""

    number: int
    cpus: tuple[int, ...]
    memory_bytes: int | None


@dataclass(frozen=True)
class AdvertisedClock:
    """What the system says about frequency, in hertz; under a hypervisor 'cpu MHz' is the time-stamp counter."""

    maximum_hz: float | None = None
    base_hz: float | None = None
    counter_hz: float | None = None
    driver: str = ""
    boost: bool | None = None


@dataclass(frozen=True)
class HostObservation:
    """Everything read from a host, uninterpreted. Numbers that could not be read are None, texts are empty."""

    architecture: str
    vendor: str
    model_name: str
    family: int | None
    model: int | None
    stepping: int | None
    implementer: int | None
    part: int | None
    flags: frozenset[str]
    hypervisor: bool
    hypervisor_evidence: str
    cpus: tuple[LogicalCpu, ...]
    allowed_cpus: tuple[int, ...]
    performance_cpus: tuple[int, ...]
    cpu_quota: float | None
    caches: tuple[CacheInstance, ...]
    memory_bytes: int | None
    memory_limit_bytes: int | None
    numa_nodes: tuple[NumaNode, ...]
    clock: AdvertisedClock
    transparent_hugepages: str

    @property
    def cores(self) -> tuple[tuple[int, ...], ...]:
        """Physical cores, each as its online logical CPUs."""
        return tuple(sorted({cpu.siblings for cpu in self.cpus}))

    @property
    def usable_cores(self) -> tuple[tuple[int, ...], ...]:
        """Physical cores of the fastest kind that this process may run on (CPU affinity; the quota is apart)."""
        usable = set(self.performance_cpus) & set(self.allowed_cpus) or set(self.allowed_cpus)
        return tuple(core for core in self.cores if usable & set(core))

    @property
    def sockets(self) -> int:
        """Packages as the system numbers them."""
        return len({cpu.socket for cpu in self.cpus})

    @property
    def threads_per_core(self) -> int:
        """Logical CPUs of the widest core online."""
        return max(len(core) for core in self.cores)


# --- observe: the only part that touches the host ---------------------------------------------------------------


def observe(root: Path = Path("/")) -> HostObservation:
    """Read the host, or a recorded one from the folder `root` that holds its `proc` and `sys`."""
    live = root == Path("/")
    if live and not sys.platform.startswith("linux"):
        raise HostError(
            f"host detection reads Linux's /proc and /sys, which {platform.system() or sys.platform} does not have: "
            "choose a shipped spec with --machines instead"
        )
    text = _read(root / "proc/cpuinfo")
    if not text:
        raise HostError(f"host detection needs {root / 'proc/cpuinfo'}, which cannot be read or is empty")
    processors = _cpuinfo(text)
    cpus = _logical_cpus(root, processors)
    online = tuple(cpu.number for cpu in cpus)
    first = processors.get(online[0], next(iter(processors.values())))
    performance = _performance_cpus(root, online)
    if performance and performance[0] in processors:
        first = processors[performance[0]]
    flags = frozenset((first.get("flags") or first.get("features") or "").split())
    evidence = _hypervisor(root, flags)
    if "cpu implementer" in first:
        architecture = "aarch64"
    elif "vendor_id" in first and "flags" in first:
        architecture = "x86_64" if "lm" in flags else "i686"
    else:
        architecture = platform.machine() if live else "unknown"
    memory = _memory_total(root)
    limit = _smallest(_cgroup_limits(root, "memory", "memory.max", "memory.limit_in_bytes"))
    return HostObservation(
        architecture=architecture,
        vendor=first.get("vendor_id", ""),
        model_name=first.get("model name", ""),
        family=_integer(first.get("cpu family")),
        model=_integer(first.get("model")),
        stepping=_integer(first.get("stepping")),
        implementer=_integer(first.get("cpu implementer")),
        part=_integer(first.get("cpu part")),
        flags=flags,
        hypervisor=bool(evidence),
        hypervisor_evidence=evidence,
        cpus=cpus,
        allowed_cpus=_allowed_cpus(root, online, live),
        performance_cpus=performance,
        cpu_quota=_cpu_quota(root),
        caches=_caches(root, online),
        memory_bytes=memory,
        memory_limit_bytes=int(limit) if limit is not None and (memory is None or limit < memory) else None,
        numa_nodes=_numa_nodes(root),
        clock=_advertised_clock(root, performance[0], first),
        transparent_hugepages=_bracketed(_read(root / "sys/kernel/mm/transparent_hugepage/enabled")),
    )


def _read(path: Path) -> str:
    """The file's text without surrounding blanks; empty where it is missing or unreadable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _integer(text: str | None) -> int | None:
    """'26', '0x41' or '1 (x)' as an integer; None for anything else."""
    match_ = re.match(r"0[xX][0-9a-fA-F]+|\d+", text or "")
    return int(match_.group(), 0 if match_.group()[:2].lower() == "0x" else 10) if match_ else None


def _scaled(text: str, factor: float) -> float | None:
    """A decimal number times `factor`; None where there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value * factor if 0 < value < float("inf") else None


def _bracketed(text: str) -> str:
    """'madvise' of 'always [madvise] never'."""
    match_ = re.search(r"\[(\w+)\]", text)
    return match_.group(1) if match_ else ""


def _size(text: str) -> int | None:
    """'1024K' of sysfs in bytes."""
    match_ = re.fullmatch(r"(\d+)([KMG]?)", text)
    return int(match_.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30}[match_.group(2)] if match_ else None


def _cpu_list(text: str) -> tuple[int, ...]:
    """'0-2,8' as (0, 1, 2, 8); parts that are no range are left out."""
    numbers: set[int] = set()
    for part in text.split(","):
        match_ = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match_:
            numbers.update(range(int(match_.group(1)), int(match_.group(2) or match_.group(1)) + 1))
    return tuple(sorted(numbers))


def _cpuinfo(text: str) -> dict[int, dict[str, str]]:
    """Processor number -> its lines, keys in lower case. Lines above the first 'processor' are left out."""
    processors: dict[int, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        key, value = key.strip().lower(), value.strip()
        if key == "processor" and value.isdigit():
            current = processors.setdefault(int(value), {})
        current[key] = value
    if not processors:
        raise HostError("host detection found no 'processor' line in proc/cpuinfo: this system's format is not known")
    return processors


def _logical_cpus(root: Path, processors: Mapping[int, Mapping[str, str]]) -> tuple[LogicalCpu, ...]:
    """Online CPUs from sysfs, with /proc/cpuinfo for what sysfs does not say."""
    base = root / "sys/devices/system/cpu"
    online = _cpu_list(_read(base / "online")) or tuple(sorted(processors))
    sockets: dict[int, int] = {}
    cores: dict[int, tuple[int, ...]] = {}
    for cpu in online:
        topology = base / f"cpu{cpu}/topology"
        info = processors.get(cpu, {})
        package = _integer(_read(topology / "physical_package_id"))  # -1 on Arm without firmware tables
        sockets[cpu] = package if package is not None else _integer(info.get("physical id")) or 0
        siblings = _cpu_list(_read(topology / "core_cpus_list") or _read(topology / "thread_siblings_list"))
        if not siblings and info.get("core id"):
            siblings = tuple(
                other
                for other in online
                if all(processors.get(other, {}).get(key) == info.get(key) for key in ("physical id", "core id"))
            )
        cores[cpu] = tuple(other for other in siblings if other in online) or (cpu,)
    return tuple(LogicalCpu(cpu, sockets[cpu], cores[cpu]) for cpu in online)


def _performance_cpus(root: Path, online: tuple[int, ...]) -> tuple[int, ...]:
    """The fastest kind of CPU where kinds are mixed (Intel hybrid parts, Arm big.LITTLE), else all of them."""
    hybrid = tuple(cpu for cpu in _cpu_list(_read(root / "sys/devices/cpu_core/cpus")) if cpu in online)
    if hybrid:
        return hybrid
    capacities = {cpu: _integer(_read(root / f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity")) for cpu in online}
    known = {cpu: capacity for cpu, capacity in capacities.items() if capacity}
    if len(known) < len(online):
        return online
    # Favoured cores of one kind differ by a few per cent; another kind is well below.
    return tuple(cpu for cpu in online if known[cpu] >= 0.9 * max(known.values()))


def _allowed_cpus(root: Path, online: tuple[int, ...], live: bool) -> tuple[int, ...]:
    """CPUs this process may run on; a recorded host has them in proc/self/status."""
    if live and hasattr(os, "sched_getaffinity"):
        allowed = tuple(sorted(os.sched_getaffinity(0)))
    else:
        line = re.search(r"^Cpus_allowed_list:\s*(\S+)", _read(root / "proc/self/status"), re.MULTILINE)
        allowed = _cpu_list(line.group(1)) if line else ()
    return tuple(cpu for cpu in allowed if cpu in online) or online


def _caches(root: Path, online: tuple[int, ...]) -> tuple[CacheInstance, ...]:
    """Every cache instance once, in order of level, kind and first CPU."""
    found: dict[tuple[int, str, tuple[int, ...]], CacheInstance] = {}
    for cpu in online:
        for index in sorted((root / f"sys/devices/system/cpu/cpu{cpu}/cache").glob("index[0-9]*")):
            level, kind = _integer(_read(index / "level")), _read(index / "type")
            if not level or not kind:
                continue
            shared = tuple(other for other in _cpu_list(_read(index / "shared_cpu_list")) if other in online) or (cpu,)
            if (level, kind, shared) in found:
                continue
            size = _size(_read(index / "size")) or None
            ways = _integer(_read(index / "ways_of_associativity")) or None
            sets = _integer(_read(index / "number_of_sets")) or None
            line = _integer(_read(index / "coherency_line_size")) or None
            if size is None and ways and sets and line:
                size = ways * sets * line
            source = f"sysfs cpu{cpu}/cache/{index.name}"
            found[level, kind, shared] = CacheInstance(level, kind, size, ways, sets, line, shared, source)
    return tuple(found[key] for key in sorted(found))


def _numa_nodes(root: Path) -> tuple[NumaNode, ...]:
    nodes = []
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        total = re.search(r"MemTotal:\s*(\d+) kB", _read(folder / "meminfo"))
        number = int(folder.name.removeprefix("node"))
        nodes.append(
            NumaNode(number, _cpu_list(_read(folder / "cpulist")), int(total.group(1)) << 10 if total else None)
        )
    return tuple(sorted(nodes, key=lambda node: node.number))


def _memory_total(root: Path) -> int | None:
    total = re.search(r"^MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    return int(total.group(1)) << 10 if total else None


def _cgroup_folders(root: Path, controller: str) -> list[Path]:
    """This process's control groups that may limit `controller`, its own first, then every parent (v1 and v2)."""
    folders: list[Path] = []
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            candidates = [mounts, mounts / "unified"]
        elif controller in controllers.split(","):
            candidates = [mounts / controllers, mounts / controller]
        else:
            continue
        # In a container the path may be the host's while the mount shows the container's own group: parents cover it.
        inner = [part for part in path.split("/") if part not in ("", ".", "..")]
        for mount in candidates:
            folders += [mount.joinpath(*inner[:depth]) for depth in range(len(inner), -1, -1)]
    return folders or [mounts, mounts / controller]


def _cgroup_limits(root: Path, controller: str, *names: str) -> list[float | None]:
    return [_scaled(_read(folder / name), 1.0) for folder in _cgroup_folders(root, controller) for name in names]


def _smallest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _cpu_quota(root: Path) -> float | None:
    """CPUs' worth of time that the control groups grant, the tightest of the nest; None where there is no limit."""
    quotas: list[float | None] = []
    for folder in _cgroup_folders(root, "cpu"):
        fields = _read(folder / "cpu.max").split()  # v2: "150000 100000" or "max 100000"
        if not fields:
            fields = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]  # v1; -1 is no limit
        quota, period = (_scaled(field, 1.0) for field in [*fields, "100000"][:2])
        quotas.append(quota / period if quota and period else None)
    return _smallest(quotas)


_VIRTUAL_SYSTEMS = (  # sys_vendor, part of product_name that must be there, part that must not
    ("QEMU", "", ""),
    ("KVM", "", ""),
    ("Amazon EC2", "", "metal"),
    ("Google", "Compute Engine", "metal"),
    ("Microsoft Corporation", "Virtual Machine", ""),
    ("VMware", "", ""),
    ("innotek GmbH", "", ""),
    ("Xen", "", ""),
    ("Parallels", "", ""),
    ("OpenStack", "", ""),
    ("Alibaba Cloud", "ECS", "Bare Metal"),
    ("Oracle Corporation", "Standard PC", ""),
)


def _hypervisor(root: Path, flags: frozenset[str]) -> str:
    """What gives a hypervisor away; empty on bare metal or where nothing tells."""
    if "hypervisor" in flags:
        return "cpuinfo flag 'hypervisor'"
    kind = _read(root / "sys/hypervisor/type")
    if kind:
        return f"sysfs hypervisor/type '{kind}'"
    if _read(root / "proc/device-tree/hypervisor/compatible"):
        return "device tree node 'hypervisor'"
    vendor, product = (_read(root / f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
    for name, required, excluded in _VIRTUAL_SYSTEMS:
        if vendor.startswith(name) and required in product and not (excluded and excluded in product):
            return f"system vendor '{vendor}', product '{product}'"
    return ""


def _advertised_clock(root: Path, cpu: int, info: Mapping[str, str]) -> AdvertisedClock:
    base = root / "sys/devices/system/cpu"
    policy = base / f"cpu{cpu}/cpufreq"
    no_turbo, boost = _read(base / "intel_pstate/no_turbo"), _read(base / "cpufreq/boost")
    return AdvertisedClock(
        maximum_hz=_scaled(_read(policy / "cpuinfo_max_freq"), 1e3),
        base_hz=_scaled(_read(policy / "base_frequency"), 1e3),
        counter_hz=_scaled(info.get("cpu mhz", ""), 1e6),
        driver=_read(policy / "scaling_driver"),
        boost=no_turbo == "0" if no_turbo else boost == "1" if boost else None,
    )


# --- match: which shipped spec is nearest -----------------------------------------------------------------------


class Match(NamedTuple):
    """The shipped spec to inherit from. high: the same design; medium: a neighbour; low: instruction sets alone."""

    base_id: str
    confidence: Confidence
    reason: str


@dataclass(frozen=True)
class _Part:
    """A row of the table. x86: CPUID vendor, family, model range; Arm: implementer and part range.

    `vector_share`: SIMD work per cycle against the base, where the design is known to have fewer or narrower pipes.
    """

    vendor: str | int
    family: int | None
    first: int
    last: int
    base_id: str
    design: str
    same: bool
    vector_share: float = 1.0


_ICE_LAKE, _SAPPHIRE_RAPIDS = "intel-xeon-platinum-8380", "intel-xeon-platinum-8480plus"
_MILAN, _GENOA, _TURIN, _GRAVITON4 = "amd-epyc-7763", "amd-epyc-9654", "amd-epyc-9755", "aws-graviton4"
_INTEL, _AMD, _ARM = "GenuineIntel", "AuthenticAMD", 0x41

# Model numbers as the Linux kernel lists them (arch/x86/include/asm/intel-family.h, arch/x86/kernel/cpu/amd.c,
# arch/arm64/include/asm/cputype.h).
_PARTS = (
    _Part(_INTEL, 6, 0x6A, 0x6A, _ICE_LAKE, "Ice Lake-SP", same=True),
    _Part(_INTEL, 6, 0x6C, 0x6C, _ICE_LAKE, "Ice Lake-D", same=True),
    _Part(_INTEL, 6, 0x55, 0x55, _ICE_LAKE, "Skylake-SP, Cascade Lake or Cooper Lake", same=False),
    _Part(_INTEL, 6, 0x8F, 0x8F, _SAPPHIRE_RAPIDS, "Sapphire Rapids", same=True),
    _Part(_INTEL, 6, 0xCF, 0xCF, _SAPPHIRE_RAPIDS, "Emerald Rapids", same=False),
    _Part(_INTEL, 6, 0xAD, 0xAE, _SAPPHIRE_RAPIDS, "Granite Rapids", same=False),
    _Part(_AMD, 23, 0x30, 0xAF, _MILAN, "Zen 2", same=False),
    _Part(_AMD, 25, 0x00, 0x0F, _MILAN, "Zen 3", same=True),
    _Part(_AMD, 25, 0x20, 0x5F, _MILAN, "Zen 3 (desktop or mobile)", same=False),
    _Part(_AMD, 25, 0x10, 0x1F, _GENOA, "Zen 4", same=True),
    _Part(_AMD, 25, 0x60, 0x7F, _GENOA, "Zen 4 (desktop or mobile)", same=False),
    _Part(_AMD, 25, 0xA0, 0xAF, _GENOA, "Zen 4c", same=False),
    _Part(_AMD, 26, 0x00, 0x0F, _TURIN, "Zen 5", same=True),
    _Part(_AMD, 26, 0x10, 0x1F, _TURIN, "Zen 5c", same=False),
    _Part(_AMD, 26, 0x20, 0x2F, _TURIN, "Zen 5 (mobile, 256-bit data paths)", same=False, vector_share=0.5),
    _Part(_AMD, 26, 0x40, 0x4F, _TURIN, "Zen 5 (desktop)", same=False),
    _Part(_AMD, 26, 0x60, 0x6F, _TURIN, "Zen 5 (mobile, 256-bit data paths)", same=False, vector_share=0.5),
    _Part(_AMD, 26, 0x70, 0x7F, _TURIN, "Zen 5 (mobile)", same=False),
    _Part(_AMD, 26, 0x50, 0xFF, _TURIN, "a successor of Zen 5", same=False),
    _Part(_ARM, None, 0xD4F, 0xD4F, _GRAVITON4, "Neoverse V2", same=True),
    _Part(_ARM, None, 0xD40, 0xD40, _GRAVITON4, "Neoverse V1", same=False),
    _Part(_ARM, None, 0xD83, 0xD84, _GRAVITON4, "Neoverse V3", same=False),
    _Part(_ARM, None, 0xD0C, 0xD0C, _GRAVITON4, "Neoverse N1", same=False, vector_share=0.5),
    _Part(_ARM, None, 0xD49, 0xD49, _GRAVITON4, "Neoverse N2", same=False, vector_share=0.5),
    _Part(_ARM, None, 0xD8E, 0xD8E, _GRAVITON4, "Neoverse N3", same=False, vector_share=0.5),
)  # fmt: skip

_VENDORS: dict[str | int, str] = {
    _INTEL: "Intel", _AMD: "AMD", "HygonGenuine": "Hygon", "CentaurHauls": "Centaur", "  Shanghai  ": "Zhaoxin",
    _ARM: "Arm", 0x42: "Broadcom", 0x43: "Cavium", 0x46: "Fujitsu", 0x48: "HiSilicon", 0x4E: "NVIDIA",
    0x50: "APM", 0x51: "Qualcomm", 0x61: "Apple", 0x6D: "Microsoft", 0xC0: "Ampere",
}  # fmt: skip

# Instruction set of machine.py -> CPU flags that all must be there, per architecture.
_ISA_FLAGS: dict[str, dict[Isa, tuple[str, ...]]] = {
    "x86_64": {
        "avx2": ("avx2", "fma", "f16c"),
        "avx512": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
        "avx512_bf16": ("avx512f", "avx512_bf16"),
        "avx512_vnni": ("avx512f", "avx512_vnni"),
        "avx_vnni": ("avx2", "avx_vnni"),
        "amx_bf16": ("amx_tile", "amx_bf16"),
        "amx_int8": ("amx_tile", "amx_int8"),
    },
    "aarch64": {"neon": ("asimd",), "sve": ("sve",), "bf16": ("bf16",), "i8mm": ("i8mm",)},
}


def match(observation: HostObservation) -> Match:
    """The nearest shipped spec, how sure that is, and why in words."""
    isa = _isa(observation)
    identity = _identity(observation)
    part = _part(observation)
    if part is not None and part.same:
        return Match(part.base_id, "high", f"{identity} is {part.design}, the design of {part.base_id}")
    if part is not None:
        return Match(part.base_id, "medium", f"{identity} is {part.design}; the nearest shipped spec is {part.base_id}")
    if observation.architecture == "aarch64":
        base_id, feature = _GRAVITON4, "AArch64"
    elif "amx_bf16" in isa or "amx_int8" in isa:
        base_id, feature = _SAPPHIRE_RAPIDS, "AMX"
    elif "avx512" in isa:
        base_id, feature = _ICE_LAKE, "AVX-512"
    else:
        base_id, feature = _MILAN, "AVX2 but not AVX-512"
    return Match(base_id, "low", f"{identity} is not in the table; it has {feature}, so {base_id} stands in for it")


def _isa(observation: HostObservation) -> tuple[Isa, ...]:
    """Instruction sets the system lets programs use, in machine.py's words; HostError where the model knows none."""
    if observation.architecture not in _ISA_FLAGS:
        raise HostError(
            f"this host's architecture is {observation.architecture}; only x86-64 and AArch64 CPUs can be described"
        )
    table = _ISA_FLAGS[observation.architecture]
    isa = tuple(name for name in get_args(Isa) if name in table and observation.flags.issuperset(table[name]))
    if not isa or isa[0] not in ("avx2", "neon"):
        needed = "AVX2 with FMA" if observation.architecture == "x86_64" else "Advanced SIMD (NEON)"
        raise HostError(f"this host's CPU does not offer {needed}, the least that the model describes")
    return isa


def _identity(observation: HostObservation) -> str:
    if observation.architecture == "aarch64":
        return f"implementer {_hexadecimal(observation.implementer)} part {_hexadecimal(observation.part)}"
    return (
        f"{observation.vendor} family {'unknown' if observation.family is None else observation.family} "
        f"model {_hexadecimal(observation.model)}"
    )


def _hexadecimal(number: int | None) -> str:
    return "unknown" if number is None else f"{number:#04x}"


def _part(observation: HostObservation) -> _Part | None:
    arm = observation.architecture == "aarch64"
    vendor, family = (observation.implementer, None) if arm else (observation.vendor, observation.family)
    number = observation.part if arm else observation.model
    for part in _PARTS:
        if part.vendor == vendor and part.family == family and number is not None and part.first <= number <= part.last:
            return part
    return None


# --- describe: the spec text ------------------------------------------------------------------------------------

_Leaf = dict[str, object]
_SMT_NOTE = "a virtual machine may present SMT siblings as cores: two of them would then share one core's pipes"
_DESKTOP = re.compile(r"\bCore\(TM\)|\bIntel Core\b|\b(?:Ryzen|Athlon|Pentium|Celeron)\b(?!.*Threadripper)")
# Drivers whose cpuinfo_max_freq is the highest boost clock; acpi-cpufreq's may be the one without boost.
_BOOST_DRIVERS = frozenset(
    ("intel_pstate", "intel_cpufreq", "amd-pstate", "amd-pstate-epp", "amd_pstate", "cppc_cpufreq")
)


def detect_spec(observation: HostObservation | None = None) -> str:
    """The host's spec as YAML text that `simulator.specfile` reads; HostError where it cannot be described."""
    from simulator.specfile import load_machine

    seen = observe() if observation is None else observation
    return describe(seen, load_machine(match(seen).base_id))


def describe(observation: HostObservation, base: Machine) -> str:
    """The spec text of an observed host that inherits from `base`, the machine `match` named."""
    isa = _described_isa(observation, base)
    matched = match(observation)
    part = _part(observation)
    shape = _shape(observation)
    name = observation.model_name or (part.design if part else f"{_vendor(observation)} CPU")
    kind = " (virtual machine)" if observation.hypervisor else ""
    counted = ", ".join((f"{shape.sockets} sockets",) * (shape.sockets > 1) + (_counted(shape.cores * shape.sockets),))
    data: dict[str, object] = {
        "format_version": 1,
        "base": matched.base_id,
        "status": "detected",
        "name": f"{name}, {counted}{kind}",
        "vendor": _vendor(observation),
        "microarchitecture": part.design if part else f"unknown, described as {base.microarchitecture}",
        "cores_per_socket": _measured(shape.cores, shape.cores_source, "; ".join(shape.notes)),
        "sockets": _measured(shape.sockets, shape.sockets_source, shape.sockets_note),
        "threads_per_core": _measured(
            observation.threads_per_core,
            "sysfs cpu*/topology/core_cpus_list",
            _SMT_NOTE if observation.hypervisor and observation.threads_per_core == 1 else "",
        ),
        "tdp": None,
        "notes": f"Detected. {matched.reason[0].upper()}{matched.reason[1:]} (confidence {matched.confidence}).",
        "isa": _measured(list(isa), "cpuinfo flags"),
        "clock": _clock(observation, base, isa, shape.cores),
    }
    if matched.confidence != "high":
        data |= {"year": None, **_borrowed(base, matched)}
    own = {
        "core": _core(base, isa, part),
        "caches": _cache_section(observation, base, shape),
        "memory": _memory(observation, base, shape),
    }
    data = _merged(data, own)
    return _header(observation, base, matched, shape, isa) + "".join(_lines(data))


def _described_isa(observation: HostObservation, base: Machine) -> tuple[Isa, ...]:
    """The host's instruction sets without those that the base has no rates for."""
    dropped: set[str] = set()
    if base.core.matrix is None:
        dropped |= {"amx_bf16", "amx_int8"}
    if base.core.vector.width_bits < 512:
        dropped |= {"avx512", "avx512_bf16", "avx512_vnni"}
    return tuple(name for name in _isa(observation) if name not in dropped)


def _borrowed(base: Machine, matched: Match) -> dict[str, object]:
    """The base's microarchitecture restated as estimates: measured on the base, it is a guess for another design."""
    from simulator.specdump import dump_machine

    flat = yamlfile.load(base.id, dump_machine(base)).data
    origin: dict[str, object] = {"provenance": "estimated", "source": f"{base.id}'s value: {matched.reason}"}
    return {name: origin | _bare(flat[name]) for name in ("core", "caches", "tlb", "prefetcher", "memory")}


def _bare(section: dict[str, Any]) -> dict[str, Any]:
    """A section's values without provenance."""
    bare: dict[str, Any] = {}
    for key, item in section.items():
        if isinstance(item, dict):
            bare[key] = item["value"] if "value" in item else _bare(item)
        elif key not in ("provenance", "source"):
            bare[key] = item
    return bare


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: sections merge, values replace."""
    merged = dict(under)
    for key, item in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(item, dict) and "value" not in item
        merged[key] = _merged(below or {}, item) if both else item
    return merged


def _measured(value: object, source: str, note: str = "") -> _Leaf:
    return {"value": value, "provenance": "measured", "source": source} | ({"note": note} if note else {})


def _estimated(value: object, source: str, note: str = "") -> _Leaf:
    return {"value": value, "provenance": "estimated", "source": source} | ({"note": note} if note else {})


def _counted(cores: int) -> str:
    return f"{cores} core" if cores == 1 else f"{cores} cores"


def _vendor(observation: HostObservation) -> str:
    if observation.architecture == "aarch64":
        number = observation.implementer
        return _VENDORS.get(number or 0, f"Arm implementer {_hexadecimal(number)}")
    return _VENDORS.get(observation.vendor, observation.vendor or "unknown")


@dataclass(frozen=True)
class _Shape:
    """Sockets and physical cores the spec states: what this process can use, counted as whole cores."""

    cores: int
    sockets: int
    members: tuple[tuple[int, ...], ...]
    cores_source: str
    notes: tuple[str, ...]
    sockets_source: str
    sockets_note: str


def _shape(observation: HostObservation) -> _Shape:
    usable = observation.usable_cores
    socket_of = {cpu.number: cpu.socket for cpu in observation.cpus}
    by_socket: dict[int, int] = {}
    for core in usable:
        by_socket[socket_of[core[0]]] = by_socket.get(socket_of[core[0]], 0) + 1
    sockets, cores = len(by_socket), max(by_socket.values())
    source, socket_note = "sysfs cpu/online, cpu*/topology", ""
    notes: list[str] = []
    everything, total = len(observation.cores), len(usable)
    hybrid = set(observation.performance_cpus) < {cpu.number for cpu in observation.cpus}
    if hybrid:
        notes.append(f"mixed kinds of core: only the fastest kind is described, of {everything} cores in all")
    if len(set(observation.allowed_cpus)) < len(observation.cpus):
        allowed = sum(1 for core in observation.cores if set(core) & set(observation.allowed_cpus))
        if allowed < everything:
            source += ", CPU affinity"
            notes.append(f"this process may run on {allowed} of {everything} cores")
    if observation.hypervisor and sockets > 1 and len(observation.numa_nodes) <= 1:
        # One NUMA node and many packages: the package numbers are the hypervisor's invention.
        socket_note = f"the hypervisor numbers {sockets} packages but one NUMA node: counted as one socket"
        sockets, cores = 1, total
    elif sockets > 1 and min(by_socket.values()) != cores:
        notes.append(
            f"sockets differ in usable cores ({', '.join(map(str, by_socket.values()))}): the largest is stated"
        )
    quota = observation.cpu_quota
    if quota is not None and quota < cores * sockets:
        whole = max(1, int(quota))
        unlimited = cores * sockets
        if whole <= cores:
            sockets, cores = 1, whole
        else:
            cores = whole // sockets
        source += ", cgroup CPU quota"
        notes.append(f"the cgroup grants {quota:g} CPUs of time on {_counted(unlimited)}: counted as whole cores")
    if observation.hypervisor:
        notes.append("the cores of this virtual machine; the part itself has more, busy with others' work")
    return _Shape(
        cores=cores,
        sockets=sockets,
        members=usable,
        cores_source=source,
        notes=tuple(notes),
        sockets_source="sysfs cpu*/topology/physical_package_id",
        sockets_note=socket_note,
    )


# Clock


def _clock(observation: HostObservation, base: Machine, isa: tuple[Isa, ...], cores: int) -> dict[str, object]:
    """The base's curves up to this host's cores, scaled or capped where the system tells the highest clock."""
    source, factor, cap = _clock_rule(observation, base)
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
        section[name] = {int(x) if float(x).is_integer() else x: _hertz(min(y * factor, cap)) for x, y in points}
    clock = observation.clock
    if clock.base_hz:
        section["base"] = _measured(_hertz(clock.base_hz), "sysfs cpu0/cpufreq/base_frequency")
    return section


def _clock_rule(observation: HostObservation, base: Machine) -> tuple[str, float, float]:
    """(source text, factor on the base's curves, upper bound in hertz)."""
    clock, unlimited = observation.clock, float("inf")
    kept = f"curve of {base.id} kept"
    if observation.hypervisor:
        counter = f": the advertised {_hertz(clock.counter_hz)} is the time-stamp counter" if clock.counter_hz else ""
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
            return f"{kept}: sysfs cpufreq/cpuinfo_max_freq {_hertz(clock.maximum_hz)} agrees with it", 1.0, unlimited
        return (
            f"curve of {base.id} scaled so that its highest clock is sysfs cpufreq/cpuinfo_max_freq "
            f"{_hertz(clock.maximum_hz)}; clocks of several active cores cannot be read",
            clock.maximum_hz / top,
            unlimited,
        )
    if clock.maximum_hz:
        driver = clock.driver or "unnamed"
        return (
            f"{kept}: the {driver} driver's cpuinfo_max_freq {_hertz(clock.maximum_hz)} may leave out boost",
            1.0,
            unlimited,
        )
    return f"{kept}: no cpufreq in sysfs, so the core clock cannot be read", 1.0, unlimited


def _hertz(value: float) -> str:
    """A frequency rounded to 1 MHz."""
    return format_quantity(round(value / 1e6) * 1e6, Dimension.FREQUENCY)


# Core


def _core(base: Machine, isa: tuple[Isa, ...], part: _Part | None) -> dict[str, object]:
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
        vector["width"] = _estimated("256 bit", hidden)
        vector["registers"] = _estimated(16, hidden)
        if share == 1.0:
            for key, rate in (("load", base.core.load_bytes_per_cycle), ("store", base.core.store_bytes_per_cycle)):
                value = format_quantity(rate / 2, Dimension.BYTES_PER_CYCLE)
                section[f"{key}_bandwidth"] = _estimated(value, f"half of {base.id}: 256-bit {key}s")
    if share != 1.0:
        reason = f"{share:g} x {base.id}: " + ("256-bit instructions" if narrow or part is None else part.design)
        for key, rate in (
            ("fma", unit.fma_per_cycle),
            ("alu", unit.alu_per_cycle),
            ("convert", unit.convert_per_cycle),
        ):
            vector[f"{key}_per_cycle"] = _estimated(_plain(rate * share), reason)
        value = format_quantity(unit.exp_cycles_per_vector / share, Dimension.CYCLES)
        vector["exp_per_vector"] = _estimated(value, reason)
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
            section[key] = _estimated(0, hidden)
        elif there and not rate and not (name == "dot_int16" and "neon" in features):
            section[key] = _estimated(_plain(unit.fma_per_cycle * share), f"one per FMA pipe: {base.id} lacks it")
        elif there and rate and share != 1.0:
            section[key] = _estimated(_plain(rate * share), f"{share:g} x {base.id}")
    return section


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


# Caches


def _cache_section(observation: HostObservation, base: Machine, shape: _Shape) -> dict[str, object]:
    """Geometry of each level as read on the first usable core; what is not listed stays the base's, with the reason."""
    section: dict[str, object] = {}
    first = shape.members[0][0]
    found = {cache.level: cache for cache in _data_caches(observation) if first in cache.shared_cpus}
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
                "size": _estimated(
                    format_quantity(inherited.size_bytes, Dimension.SIZE), f"kept from {base.id}: {reason}"
                )
            }
            if inherited.cores_per_instance > shape.cores:
                kept["cores_per_instance"] = _estimated(
                    shape.cores, f"kept from {base.id}, but only these cores exist here"
                )
            if inherited.line_bytes != line:
                kept["line"] = _estimated(
                    format_quantity(line, Dimension.SIZE), "the L1's: the model has one line size"
                )
            section[f"L{level}"] = kept
    return section


def _data_caches(observation: HostObservation) -> tuple[CacheInstance, ...]:
    return tuple(cache for cache in observation.caches if cache.kind in ("Data", "Unified"))


def _cache(
    observation: HostObservation, instance: CacheInstance, inherited: CacheLevel, shape: _Shape, line_bytes: int
) -> dict[str, object]:
    """One level as read; `line_bytes` is the L1's, which the model uses at every level."""
    shared = set(instance.shared_cpus)
    listed = sum(1 for core in shape.members if shared & set(core))
    sharers = min(listed, shape.cores)
    bytes_ = instance.size_bytes or 0
    size_note = sharer_note = ""
    if instance.level >= 3 and observation.hypervisor:
        size_note = "nominal: other tenants of the socket use the same cache unseen, so less is effective"
        sharer_note = f"this virtual machine sees {_counted(listed)} on it; the part has more"
    if sharers < listed:
        sharer_note = f"{_counted(listed)} on it, but this process has {_counted(shape.cores)}"
    section: dict[str, object] = {
        "size": _measured(format_quantity(bytes_, Dimension.SIZE), f"{instance.source}/size", size_note),
        "cores_per_instance": _measured(sharers, f"{instance.source}/shared_cpu_list", sharer_note),
    }
    line = format_quantity(line_bytes, Dimension.SIZE)
    if instance.line_bytes == line_bytes:
        section["line"] = _measured(line, f"{instance.source}/coherency_line_size")
    else:
        read = f"{instance.line_bytes} B in sysfs" if instance.line_bytes else "not in sysfs"
        section["line"] = _estimated(line, f"the L1's: the model has one line size, this level's is {read}")
    if instance.ways and bytes_ % (instance.ways * line_bytes) == 0:
        section["ways"] = _measured(instance.ways, f"{instance.source}/ways_of_associativity")
    else:
        fitting = (inherited.ways, 16, 12, 8, 4, 2, 1)
        ways = next(ways for ways in fitting if bytes_ % (ways * line_bytes) == 0 or ways == 1)
        reason = "sysfs gives ways that do not divide the size" if instance.ways else "sysfs gives no ways"
        section["ways"] = _estimated(_plain(ways), f"{reason}: a number that divides it")
    if instance.sets and instance.ways and instance.ways * instance.sets * line_bytes == bytes_:
        section["sets"] = _measured(instance.sets, f"{instance.source}/number_of_sets")
    else:
        section["sets"] = None
    hidden = inherited.cores_per_instance - listed
    if instance.level >= 3 and observation.hypervisor and hidden > 0:
        fair = listed / inherited.cores_per_instance
        section["available_fraction"] = _estimated(
            round(fair**0.5, 2),
            f"{hidden:g} more cores of the part share this cache unseen: between all of it (idle neighbours) and "
            f"{fair:.0%} (equally busy ones), the geometric mean",
        )
    return section


# Memory


def _memory(observation: HostObservation, base: Machine, shape: _Shape) -> dict[str, object]:
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
    section["channels"] = _plain(memory.channels * share)
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


def _capacity(observation: HostObservation, base: Machine, shape: _Shape) -> _Leaf:
    """Memory of one socket."""
    total = observation.memory_limit_bytes or observation.memory_bytes
    if not total:
        kept = format_quantity(base.memory.capacity_bytes, Dimension.SIZE)
        return _estimated(kept, f"kept from {base.id}: /proc/meminfo cannot be read")
    value = format_quantity(total // shape.sockets, Dimension.SIZE)
    if observation.memory_limit_bytes:
        source, note = "cgroup memory limit", "the control group grants less than the machine has"
    else:
        source, note = "/proc/meminfo MemTotal", "what the kernel reserves is not in it"
    return _measured(value, source, note if shape.sockets == 1 else f"{note}; divided by {shape.sockets} sockets")


# Header


def _header(observation: HostObservation, base: Machine, matched: Match, shape: _Shape, isa: tuple[Isa, ...]) -> str:
    levels = sorted({cache.level for cache in _data_caches(observation)})
    shown_caches = ", ".join(f"L{level}" for level in levels)
    read = [
        f"CPU: {observation.model_name or 'no model name'}; {_identity(observation)}",
        f"topology: {len(observation.cpus)} CPUs online, {_counted(len(observation.cores))}, "
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
    unread.append(f"core clock: {_clock_rule(observation, base)[0]}")
    if not levels:
        unread.append("caches: no cpu*/cache folder in sysfs; all sizes are the base's")
    elif 3 not in levels and base.caches.L3 is not None:
        fate = "kept from the base" if observation.hypervisor else "taken as absent"
        unread.append(f"L3: not listed in sysfs; {fate}")
    unread.append("memory channels, transfer rate, bandwidth and latency: need privileges or a measurement")
    restated = "" if matched.confidence == "high" else ", restated here as estimates"
    unread.append(f"pipes, latencies, cache bandwidths, misses in flight, TLB, prefetchers: the base's{restated}")
    unsaid = [name for name in _isa(observation) if name not in isa]
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
    return "".join(_comment(line) for line in lines)


def _comment(line: str) -> str:
    """`line` as YAML comment lines of at most 110 columns."""
    if not line:
        return "#\n"
    indent = "  " if line.startswith("- ") else ""
    return "".join(f"# {part}\n" for part in textwrap.wrap(line, 108, subsequent_indent=indent, break_long_words=False))


# YAML: leaves with provenance stand on one line where that is short enough


def _lines(section: Mapping[str, object], indent: str = "") -> Iterable[str]:
    for key, value in section.items():
        if not isinstance(value, dict):
            yield from _text_lines(f"{indent}{key}: ", value)
        elif not value:
            continue
        elif len(flow := f"{indent}{key}: {_flow(value)}\n") <= 120 and not any(
            isinstance(v, dict) for v in value.values()
        ):
            yield flow
        else:
            yield f"{indent}{key}:\n"
            yield from _lines(value, indent + "  ")


def _text_lines(start: str, value: object) -> Iterable[str]:
    """`start` and a scalar; long quoted text goes on in indented lines, which YAML joins with a space."""
    indent = " " * (len(start) - len(start.lstrip()) + 2)
    text = start + _flow(value)
    yield "\n".join(textwrap.wrap(text, 116, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))
    yield "\n"


def _flow(value: object) -> str:
    """A value in YAML flow style; text that is no plain word or quantity is quoted as in JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    text = " ".join(value.split())
    return text if re.fullmatch(r"[A-Za-z][\w-]*|\d+(\.\d+)? [A-Za-z]+(/[a-z]+)?", text) else json.dumps(text)
