"""What can be read of the CPU this program runs on: `observe`, by reading text below a root folder, so that a recorded
`/proc` and `/sys` replays any machine.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


class HostError(Exception):
    """This host cannot be described; the message is one sentence for the user."""


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
