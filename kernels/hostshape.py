"""Sockets and physical cores of an observed host, counted as whole cores that this process can use."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.host import HostObservation


def counted_cores(cores: int) -> str:
    """'1 core', '2 cores'."""
    return f"{cores} core" if cores == 1 else f"{cores} cores"


@dataclass(frozen=True)
class Shape:
    """Sockets and physical cores the spec states: what this process can use, counted as whole cores."""

    cores: int
    sockets: int
    members: tuple[tuple[int, ...], ...]
    cores_source: str
    notes: tuple[str, ...]
    sockets_source: str
    sockets_note: str


def shape_of(observation: HostObservation) -> Shape:
    """What the spec states of the host, with the reasons."""
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
        notes.append(f"the cgroup grants {quota:g} CPUs of time on {counted_cores(unlimited)}: counted as whole cores")
    if observation.hypervisor:
        notes.append("the cores of this virtual machine; the part itself has more, busy with others' work")
    return Shape(
        cores=cores,
        sockets=sockets,
        members=usable,
        cores_source=source,
        notes=tuple(notes),
        sockets_source="sysfs cpu*/topology/physical_package_id",
        sockets_note=socket_note,
    )
