"""Detection on recorded and synthetic hosts (tests/hosts), without touching the machine that runs the tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kernels import host, hostmatch
from kernels.host import AdvertisedClock, CacheInstance, HostError, HostObservation, NumaNode
from kernels.hostmatch import match
from kernels.hostspec import describe, detect_spec
from simulator import machine as m
from simulator import specdump, specfile, yamlfile

HOSTS = Path(__file__).parent / "hosts"
NAMES = sorted(path.name for path in HOSTS.iterdir() if path.is_dir())
TURIN, XEON, GRAVITON, DESKTOP, CONTAINER, BARE = (
    "amd-epyc-turin-vm",
    "synthetic-xeon-8480plus-2s",
    "synthetic-graviton4-vm",
    "synthetic-avx2-desktop",
    "synthetic-container-quota",
    "synthetic-no-cache-folder",
)
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def seen(name: str) -> HostObservation:
    return host.observe(HOSTS / name)


def geometry(observation: HostObservation, cpu: int = 0) -> list[tuple[int, str, int | None, int | None, int]]:
    """(level, kind, size, ways, CPUs on it) of each cache of one CPU."""
    return [
        (c.level, c.kind, c.size_bytes, c.ways, len(c.shared_cpus)) for c in observation.caches if cpu in c.shared_cpus
    ]


def test_every_recorded_host_is_tested_here() -> None:
    assert sorted([TURIN, XEON, GRAVITON, DESKTOP, CONTAINER, BARE]) == NAMES


# Observation


def test_recorded_turin_guest() -> None:
    observation = seen(TURIN)
    assert (observation.architecture, observation.vendor, observation.model_name) == (
        "x86_64",
        "AuthenticAMD",
        "AMD EPYC",
    )
    assert (observation.family, observation.model, observation.stepping) == (26, 2, 1)
    assert (observation.implementer, observation.part) == (None, None)
    assert (observation.hypervisor, observation.hypervisor_evidence) == (True, "cpuinfo flag 'hypervisor'")
    assert observation.cores == observation.usable_cores == ((0,), (1,))
    assert (observation.sockets, observation.threads_per_core) == (1, 1)
    assert observation.allowed_cpus == observation.performance_cpus == (0, 1)
    assert observation.cpu_quota is None  # cgroup v1 says -1
    assert observation.memory_limit_bytes is None  # v1 says 2**63, less a page
    assert observation.memory_bytes == 24684092 * KIB
    assert len(observation.numa_nodes) == 1
    assert observation.numa_nodes[0].memory_bytes < observation.memory_bytes / 2  # type: ignore[operator]
    assert observation.clock == AdvertisedClock(counter_hz=2596.122e6)
    assert observation.transparent_hugepages == "madvise"
    assert {"avx512_bf16", "avx_vnni", "avx512_vnni"} <= observation.flags


def test_recorded_turin_caches() -> None:
    assert geometry(seen(TURIN)) == [
        (1, "Data", 48 * KIB, 12, 1),
        (1, "Instruction", 32 * KIB, 8, 1),
        (2, "Unified", 1 * MIB, 16, 1),
        (3, "Unified", 32 * MIB, 16, 2),
    ]
    assert seen(TURIN).caches[-1] == CacheInstance(
        3, "Unified", 32 * MIB, 16, 32768, 64, (0, 1), "sysfs cpu0/cache/index3"
    )


def test_bare_metal_two_sockets_with_smt() -> None:
    observation = seen(XEON)
    assert (len(observation.cpus), len(observation.cores), observation.sockets) == (224, 112, 2)
    assert observation.threads_per_core == 2
    assert observation.cores[56] == (56, 168)  # from physical id and core id: there are no topology folders
    assert (observation.hypervisor, observation.hypervisor_evidence) == (False, "")
    assert observation.clock == AdvertisedClock(3.8e9, 2.0e9, 2.0e9, "intel_pstate", boost=True)
    assert [node.number for node in observation.numa_nodes] == [0, 1]
    assert len(observation.numa_nodes[1].cpus) == 112
    assert observation.cpu_quota is None  # cgroup v2 says max
    assert geometry(observation, 168)[-1] == (3, "Unified", 105 * MIB, 15, 112)
    assert observation.transparent_hugepages == "always"


def test_aarch64_cpuinfo() -> None:
    observation = seen(GRAVITON)
    assert (observation.architecture, observation.vendor, observation.model_name) == ("aarch64", "", "")
    assert (observation.implementer, observation.part, observation.family) == (0x41, 0xD4F, None)
    assert observation.hypervisor_evidence == "system vendor 'Amazon EC2', product 'c8g.2xlarge'"
    assert len(observation.cores) == 8
    assert {"asimd", "sve", "bf16", "i8mm"} <= observation.flags
    assert geometry(observation)[-1] == (3, "Unified", 36 * MIB, 12, 8)
    assert observation.clock == AdvertisedClock()


def test_desktop_with_smt() -> None:
    observation = seen(DESKTOP)
    assert observation.cores == tuple((n, n + 6) for n in range(6))
    assert (observation.sockets, observation.threads_per_core, observation.hypervisor) == (1, 2, False)
    assert observation.clock == AdvertisedClock(4.7e9, 3.7e9, 3.7e9, "intel_pstate", boost=True)
    assert geometry(observation)[2:] == [(2, "Unified", 256 * KIB, 4, 2), (3, "Unified", 12 * MIB, 16, 12)]


def test_container_quota_and_memory_limit() -> None:
    observation = seen(CONTAINER)
    assert observation.cpu_quota == 1.5  # found at the mount's root: the group's own path is the host's
    assert observation.memory_limit_bytes == 4 * GIB
    assert (len(observation.cpus), len(observation.cores)) == (16, 8)


def test_missing_cache_folder() -> None:
    observation = seen(BARE)
    assert observation.caches == ()
    assert (len(observation.cores), observation.sockets, len(observation.numa_nodes)) == (4, 4, 1)


# Observation from odd trees


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


X86 = (
    "processor : 0\nvendor_id : AuthenticAMD\ncpu family : 25\nmodel : 17\nmodel name : x\n"
    "flags : lm avx2 fma f16c\n\nprocessor : 1\n"
)


def test_cpuinfo_alone_is_enough(tmp_path: Path) -> None:
    observation = host.observe(tree(tmp_path, {"proc/cpuinfo": X86}))
    assert observation.cores == ((0,), (1,))
    assert observation.allowed_cpus == (0, 1)
    assert observation.caches == ()
    assert (observation.memory_bytes, observation.cpu_quota, observation.numa_nodes) == (None, None, ())
    assert (observation.stepping, observation.transparent_hugepages) == (None, "")


def test_nonsense_in_files_reads_as_absent(tmp_path: Path) -> None:
    cache = "sys/devices/system/cpu/cpu0/cache/index0/"
    files = {
        "proc/cpuinfo": X86,
        "proc/meminfo": "MemTotal: lots\n",
        "sys/devices/system/cpu/online": "a-b\n",
        "sys/fs/cgroup/cpu.max": "fast 0\n",
        cache + "level": "1\n",
        cache + "type": "Data\n",
        cache + "size": "big\n",
        cache + "ways_of_associativity": "0\n",
        cache + "shared_cpu_list": "\n",
    }
    observation = host.observe(tree(tmp_path, files))
    assert observation.caches == (CacheInstance(1, "Data", None, None, None, None, (0,), "sysfs cpu0/cache/index0"),)
    assert (observation.memory_bytes, observation.cpu_quota) == (None, None)


def test_cache_size_from_its_geometry(tmp_path: Path) -> None:
    cache = "sys/devices/system/cpu/cpu0/cache/index0/"
    values = {"level": "1", "type": "Data", "ways_of_associativity": "8", "number_of_sets": "64"}
    files = {cache + name: text for name, text in {**values, "coherency_line_size": "64"}.items()}
    assert host.observe(tree(tmp_path, {"proc/cpuinfo": X86, **files})).caches[0].size_bytes == 32 * KIB


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "250000 100000"}, 2.5),
        (
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/cpu.max": "50000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/x",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/../../escape", "sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
    ],
)
def test_cpu_quota(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert host.observe(tree(tmp_path, {"proc/cpuinfo": X86, **files})).cpu_quota == quota


def test_affinity_of_a_recorded_host(tmp_path: Path) -> None:
    files = {"proc/cpuinfo": X86, "proc/self/status": "Name:\tx\nCpus_allowed_list:\t1\n"}
    observation = host.observe(tree(tmp_path, files))
    assert observation.allowed_cpus == (1,)
    assert observation.usable_cores == ((1,),)


def test_hybrid_parts_count_the_fast_cores(tmp_path: Path) -> None:
    text = X86 + "\nprocessor : 2\n\nprocessor : 3\n"
    observation = host.observe(tree(tmp_path, {"proc/cpuinfo": text, "sys/devices/cpu_core/cpus": "0-1\n"}))
    assert observation.usable_cores == ((0,), (1,))
    assert len(observation.cores) == 4


def test_big_little_counts_the_big_cores(tmp_path: Path) -> None:
    text = "\n".join(
        f"processor : {n}\nFeatures : asimd\nCPU implementer : 0x41\nCPU part : {part}\n"
        for n, part in enumerate(("0xd05", "0xd05", "0xd40", "0xd40"))
    )
    capacities = {f"sys/devices/system/cpu/cpu{n}/cpu_capacity": str(c) for n, c in enumerate((400, 400, 1024, 1000))}
    observation = host.observe(tree(tmp_path, {"proc/cpuinfo": text, **capacities}))
    assert observation.performance_cpus == (2, 3)
    assert observation.part == 0xD40


@pytest.mark.parametrize(
    ("vendor", "product", "virtual"),
    [
        ("Amazon EC2", "c8g.2xlarge", True),
        ("Amazon EC2", "c8g.metal-24xl", False),
        ("Google", "Google Compute Engine", True),
        ("Microsoft Corporation", "Virtual Machine", True),
        ("Microsoft Corporation", "Surface", False),
        ("QEMU", "QEMU Virtual Machine", True),
        ("Supermicro", "ARS-111M-NR", False),
    ],
)
def test_hypervisor_on_arm_from_the_product_name(tmp_path: Path, vendor: str, product: str, virtual: bool) -> None:
    cpuinfo = "processor : 0\nFeatures : asimd\nCPU implementer : 0x41\nCPU part : 0xd4f\n"
    dmi = {"sys/class/dmi/id/sys_vendor": vendor, "sys/class/dmi/id/product_name": product}
    assert host.observe(tree(tmp_path, {"proc/cpuinfo": cpuinfo, **dmi})).hypervisor is virtual


# Refusals: one clear sentence each


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.host.sys.platform", "darwin")
    monkeypatch.setattr("kernels.host.platform.system", lambda: "Darwin")
    with pytest.raises(HostError) as error:
        host.observe()
    assert str(error.value) == (
        "host detection reads Linux's /proc and /sys, which Darwin does not have: "
        "choose a shipped spec with --machines instead"
    )


def test_missing_cpuinfo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"^host detection needs .*cpuinfo, which cannot be read or is empty$"):
        host.observe(tmp_path)


def test_unknown_cpuinfo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="found no 'processor' line in proc/cpuinfo"):
        host.observe(tree(tmp_path, {"proc/cpuinfo": "vendor_id : IBM/S390\n# processors : 4\n"}))


def test_unknown_architecture_is_refused() -> None:
    with pytest.raises(HostError) as error:
        match(dataclasses.replace(seen(TURIN), architecture="riscv64"))
    assert str(error.value) == ("this host's architecture is riscv64; only x86-64 and AArch64 CPUs can be described")


def test_cpu_without_avx2_is_refused() -> None:
    with pytest.raises(HostError) as error:
        match(dataclasses.replace(seen(DESKTOP), flags=frozenset({"lm", "sse4_2", "avx"})))
    assert str(error.value) == "this host's CPU does not offer AVX2 with FMA, the least that the model describes"


# Match

AVX2 = {"lm", "avx2", "fma", "f16c"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("vendor", "family", "model", "base_id", "confidence"),
    [
        ("GenuineIntel", 6, 0x6A, "intel-xeon-platinum-8380", "high"),
        ("GenuineIntel", 6, 0x6C, "intel-xeon-platinum-8380", "high"),
        ("GenuineIntel", 6, 0x55, "intel-xeon-platinum-8380", "medium"),
        ("GenuineIntel", 6, 0x8F, "intel-xeon-platinum-8480plus", "high"),
        ("GenuineIntel", 6, 0xCF, "intel-xeon-platinum-8480plus", "medium"),
        ("GenuineIntel", 6, 0xAD, "intel-xeon-platinum-8480plus", "medium"),
        ("GenuineIntel", 6, 0xAE, "intel-xeon-platinum-8480plus", "medium"),
        ("AuthenticAMD", 25, 0x01, "amd-epyc-7763", "high"),
        ("AuthenticAMD", 25, 0x21, "amd-epyc-7763", "medium"),
        ("AuthenticAMD", 23, 0x31, "amd-epyc-7763", "medium"),
        ("AuthenticAMD", 25, 0x11, "amd-epyc-9654", "high"),
        ("AuthenticAMD", 25, 0x61, "amd-epyc-9654", "medium"),
        ("AuthenticAMD", 25, 0xA0, "amd-epyc-9654", "medium"),
        ("AuthenticAMD", 26, 0x02, "amd-epyc-9755", "high"),
        ("AuthenticAMD", 26, 0x11, "amd-epyc-9755", "medium"),
        ("AuthenticAMD", 26, 0x44, "amd-epyc-9755", "medium"),
        ("AuthenticAMD", 26, 0x50, "amd-epyc-9755", "medium"),
        ("GenuineIntel", 6, 0xA7, "intel-xeon-platinum-8380", "low"),
        ("GenuineIntel", None, None, "intel-xeon-platinum-8380", "low"),
    ],
)
def test_match_by_cpuid(vendor: str, family: int | None, model: int | None, base_id: str, confidence: str) -> None:
    observation = dataclasses.replace(seen(TURIN), vendor=vendor, family=family, model=model, flags=frozenset(AVX512))
    assert match(observation)[:2] == (base_id, confidence)


@pytest.mark.parametrize(
    ("implementer", "part", "confidence"),
    [
        (0x41, 0xD4F, "high"),
        (0x41, 0xD40, "medium"),
        (0x41, 0xD0C, "medium"),
        (0xC0, 0xAC3, "low"),
        (None, None, "low"),
    ],
)
def test_match_by_arm_part(implementer: int | None, part: int | None, confidence: str) -> None:
    observation = dataclasses.replace(seen(GRAVITON), implementer=implementer, part=part)
    assert match(observation)[:2] == ("aws-graviton4", confidence)


@pytest.mark.parametrize(
    ("flags", "base_id", "words"),
    [
        (AVX2, "amd-epyc-7763", "it has AVX2 but not AVX-512, so amd-epyc-7763 stands in for it"),
        (AVX512, "intel-xeon-platinum-8380", "it has AVX-512, so intel-xeon-platinum-8380 stands in for it"),
        (
            AVX512 | {"amx_tile", "amx_int8"},
            "intel-xeon-platinum-8480plus",
            "it has AMX, so intel-xeon-platinum-8480plus stands in for it",
        ),
    ],
)
def test_match_by_instruction_sets(flags: set[str], base_id: str, words: str) -> None:
    observation = dataclasses.replace(seen(TURIN), vendor="HygonGenuine", family=24, model=4, flags=frozenset(flags))
    expected = f"HygonGenuine family 24 model 0x04 is not in the table; {words}"
    assert tuple(match(observation)) == (base_id, "low", expected)


def test_reason_for_a_table_match() -> None:
    assert match(seen(TURIN)).reason == "AuthenticAMD family 26 model 0x02 is Zen 5, the design of amd-epyc-9755"
    assert match(seen(GRAVITON)).reason == "implementer 0x41 part 0xd4f is Neoverse V2, the design of aws-graviton4"


# Describe: against a base of round numbers, so that no shipped spec's values are repeated here

CURVE = ((1.0, 4.0e9), (4.0, 3.6e9), (64.0, 3.0e9))


def base(base_id: str, **core: Any) -> m.Machine:
    """64 cores with AVX-512 and AMX, twelve channels."""

    def level(size: int, ways: float, cycles: float, cores: float = 1.0) -> m.CacheLevel:
        return m.CacheLevel(float(size), ways, m.Duration(cycles), m.Rate(64.0), cores_per_instance=cores)

    vector = m.VectorUnit(512.0, 2.0, 2.0, 1.0, dot_bf16_per_cycle=1.0, dot_int16_per_cycle=2.0, dot_int8_per_cycle=2.0)
    parts: dict[str, Any] = {"vector": vector, "matrix": m.MatrixUnit(16.0, 16.0, 64.0, 8.0, 16.0), **core}
    return m.Machine(
        id=base_id,
        name=base_id,
        vendor="any",
        microarchitecture="Test Lake",
        cores_per_socket=64.0,
        isa=("avx2", "avx512", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"),
        clock=m.Clock(scalar=CURVE, avx512=((1.0, 3.5e9),), amx=((1.0, 3.0e9),), base_hz=2.5e9),
        core=m.Core(8.0, 128.0, 64.0, 128.0, 16.0, **parts),
        caches=m.Caches(level(48 * KIB, 12.0, 5.0), level(2 * MIB, 16.0, 14.0), level(64 * MIB, 16.0, 60.0, 64.0)),
        tlb=m.Tlb(96.0, 32.0, 2048.0, 1024.0),
        prefetcher=m.Prefetcher(32.0, 16.0, 32.0),
        memory=m.Memory(
            "DDR5", 12.0, 4.8e9, 460.8e9, 360.0e9, 110e-9, 2.0**40, core_bandwidth_bytes_per_second=90.0e9
        ),
        software=m.Software(
            ((1.0, 0.5),), ((1.0, 0.5),), ((1.0, 0.5),), ((1.0, 0.5),),
            0.9, 2.0, 2.0, 2.0, 2.0, m.Duration(), m.Duration(), m.Duration(),
        ),
        threads_per_core=2.0,
        year=2023.0,
        tdp_watts=350.0,
    )  # fmt: skip


def described(observation: HostObservation, **core: Any) -> dict[str, Any]:
    """The spec text read back as plain data; every fault of the strict YAML reader is a failure."""
    text = describe(observation, base(match(observation).base_id, **core))
    document = yamlfile.load("detected.yaml", text)
    assert document.faults == []
    assert max(map(len, text.splitlines())) <= 120
    return dict(document.data)


def values(section: Any) -> Any:
    """The section without provenance: {value: x, ...} becomes x."""
    if not isinstance(section, dict):
        return section
    if "value" in section:
        return section["value"]
    return {key: values(item) for key, item in section.items() if key not in ("provenance", "source")}


def test_turin_guest_described() -> None:
    data = described(seen(TURIN))
    stated = values({key: data[key] for key in data if key not in ("clock", "memory", "core", "caches", "notes")})
    assert stated == {
        "format_version": 1,
        "base": "amd-epyc-9755",
        "status": "detected",
        "name": "AMD EPYC, 2 cores (virtual machine)",
        "vendor": "AMD",
        "microarchitecture": "Zen 5",
        "cores_per_socket": 2,
        "sockets": 1,
        "threads_per_core": 1,
        "tdp": None,
        "isa": ["avx2", "avx512", "avx512_bf16", "avx512_vnni", "avx_vnni"],
    }
    assert data["cores_per_socket"]["provenance"] == "measured"
    assert "SMT siblings as cores" in data["threads_per_core"]["note"]


def test_turin_guest_caches() -> None:
    caches = described(seen(TURIN))["caches"]
    assert values(caches) == {
        "L1": {"size": "48 KiB", "cores_per_instance": 1, "ways": 12, "line": "64 B", "sets": 64},
        "L2": {"size": "1 MiB", "cores_per_instance": 1, "ways": 16, "line": "64 B", "sets": 1024},
        "L3": {
            "size": "32 MiB",
            "cores_per_instance": 2,
            "ways": 16,
            "line": "64 B",
            "sets": 32768,
            "available_fraction": 0.18,
        },
    }
    assert caches["L2"]["size"] == {
        "value": "1 MiB",
        "provenance": "measured",
        "source": "sysfs cpu0/cache/index2/size",
    }
    assert "other tenants" in caches["L3"]["size"]["note"]


def test_a_guest_hides_its_clock() -> None:
    clock = described(seen(TURIN))["clock"]
    assert clock["provenance"] == "estimated"
    assert "the advertised 2596 MHz is the time-stamp counter" in clock["source"]
    assert values(clock) == {"scalar": {1: "4 GHz", 2: "3.8 GHz"}, "avx512": {1: "3.5 GHz", 2: "3.5 GHz"}, "amx": None}


def test_a_guest_keeps_the_memory_of_its_base() -> None:
    memory = described(seen(TURIN))["memory"]
    assert memory["provenance"] == "estimated"
    assert "cannot be read without privileges; other tenants share the socket's memory" in memory["source"]
    assert values(memory) == {
        "channels": 12,
        "transfer_rate": "4800 MT/s",
        "bandwidth": "460.8 GB/s",
        "read_bandwidth": "360 GB/s",
        "latency": "110 ns",
        "core_bandwidth": "90 GB/s",
        "capacity": "24684092 KiB",
    }
    assert memory["capacity"]["provenance"] == "measured"


def test_features_the_hypervisor_hides_are_dropped() -> None:
    hidden = dataclasses.replace(seen(TURIN), flags=seen(TURIN).flags - {"avx512_bf16"})
    data = described(hidden)
    assert values(data["isa"]) == ["avx2", "avx512", "avx512_vnni", "avx_vnni"]
    assert values(data["core"]) == {"matrix": None, "vector": {"dot_bf16_per_cycle": 0}}
    assert "amx_bf16" in describe(hidden, base("amd-epyc-9755"))  # named in the header


def test_hidden_avx512_halves_the_vectors() -> None:
    flags = frozenset(flag for flag in seen(TURIN).flags if not flag.startswith(("avx512", "avx_vnni")))
    core = described(dataclasses.replace(seen(TURIN), flags=flags))["core"]
    assert values(core) == {
        "matrix": None,
        "load_bandwidth": "64 B/cycle",
        "store_bandwidth": "32 B/cycle",
        "vector": {
            "width": "256 bit",
            "registers": 16,
            "dot_bf16_per_cycle": 0,
            "dot_int16_per_cycle": 0,
            "dot_int8_per_cycle": 0,
        },
    }


def test_hidden_avx512_on_a_core_that_splits_512_bits() -> None:
    flags = frozenset(flag for flag in seen(TURIN).flags if not flag.startswith(("avx512", "avx_vnni")))
    vector = m.VectorUnit(512.0, 1.0, 1.5, 1.0, exp_cycles_per_vector=12.0)
    core = values(described(dataclasses.replace(seen(TURIN), flags=flags), vector=vector, matrix=None)["core"])
    assert core == {
        "vector": {
            "width": "256 bit",
            "registers": 16,
            "fma_per_cycle": 2,
            "alu_per_cycle": 3,
            "convert_per_cycle": 2,
            "exp_per_vector": "6 cycles",
        }
    }


def test_bare_metal_xeon_described() -> None:
    data = described(seen(XEON))
    assert values({key: data[key] for key in ("cores_per_socket", "sockets", "threads_per_core", "name")}) == {
        "cores_per_socket": 56,
        "sockets": 2,
        "threads_per_core": 2,
        "name": "Intel(R) Xeon(R) Platinum 8480+, 2 sockets, 112 cores",
    }
    assert values(data["caches"])["L3"] == {
        "size": "105 MiB",
        "cores_per_instance": 56,
        "ways": 15,
        "line": "64 B",
        "sets": 114688,
    }
    assert "core" not in data  # has everything that its base has
    assert values(data["memory"]["capacity"]) == "528228414 KiB"  # of one socket
    assert "note" not in data["threads_per_core"]


def test_bare_metal_clock_is_scaled_to_the_highest_clock() -> None:
    clock = described(seen(XEON))["clock"]
    assert "scaled so that its highest clock is sysfs cpufreq/cpuinfo_max_freq 3.8 GHz" in clock["source"]
    assert values(clock)["scalar"] == {1: "3.8 GHz", 4: "3420 MHz", 56: "2877 MHz"}
    assert clock["base"] == {
        "value": "2 GHz",
        "provenance": "measured",
        "source": "sysfs cpu0/cpufreq/base_frequency",
    }


@pytest.mark.parametrize(
    ("clock", "first", "words"),
    [
        (AdvertisedClock(4.0e9, None, None, "amd-pstate-epp", True), "4 GHz", "cpuinfo_max_freq 4 GHz agrees with it"),
        (
            AdvertisedClock(2.5e9, None, None, "acpi-cpufreq", True),
            "4 GHz",
            "cpuinfo_max_freq 2.5 GHz may leave out boost",
        ),
        (AdvertisedClock(4.0e9, 2.1e9, None, "intel_pstate", False), "2.1 GHz", "boost is switched off in sysfs"),
        (AdvertisedClock(4.0e9, None, None, "acpi-cpufreq", False), "2.5 GHz", "boost is switched off in sysfs"),
        (AdvertisedClock(), "4 GHz", "no cpufreq in sysfs, so the core clock cannot be read"),
    ],
)
def test_clock_rules_on_bare_metal(clock: AdvertisedClock, first: str, words: str) -> None:
    section = described(dataclasses.replace(seen(XEON), clock=clock))["clock"]
    assert section["scalar"][1] == first
    assert words in section["source"]


def test_desktop_described() -> None:
    data = described(seen(DESKTOP))
    assert (data["base"], values(data["cores_per_socket"]), data["vendor"]) == ("amd-epyc-7763", 6, "Intel")
    assert data["microarchitecture"] == "unknown, described as Test Lake"
    assert data["notes"].endswith("(confidence low).")
    assert values(data["caches"])["L3"]["cores_per_instance"] == 6
    assert data["year"] is None
    memory = values(data["memory"])
    assert {key: memory[key] for key in memory if key not in ("kind", "channel_width", "write_share_penalty")} == {
        "channels": 2,
        "transfer_rate": "4800 MT/s",
        "bandwidth": "76.8 GB/s",
        "read_bandwidth": "60 GB/s",
        "latency": "110 ns",
        "core_bandwidth": "60 GB/s",
        "capacity": "32780516 KiB",
    }


def test_container_described() -> None:
    data = described(seen(CONTAINER))
    assert values(data["cores_per_socket"]) == 1
    assert data["cores_per_socket"]["source"].endswith("cgroup CPU quota")
    assert "the cgroup grants 1.5 CPUs of time on 8 cores: counted as whole cores" in data["cores_per_socket"]["note"]
    assert values(data["threads_per_core"]) == 2
    assert values(data["caches"])["L3"]["cores_per_instance"] == 1
    assert values(data["clock"])["scalar"] == {1: "4 GHz"}
    assert values(data["memory"])["capacity"] == "4 GiB"
    assert values(data["memory"])["channels"] == 12  # a "64-Core Processor" is no desktop Core


def test_graviton_described() -> None:
    data = described(seen(GRAVITON), matrix=None)
    assert (data["name"], data["vendor"]) == ("Neoverse V2, 8 cores (virtual machine)", "Arm")
    assert values(data["isa"]) == ["neon", "sve", "bf16", "i8mm"]
    assert "core" not in data


def test_neoverse_n1_has_half_the_pipes_and_no_matrix_instructions() -> None:
    observation = seen(GRAVITON)
    flags = observation.flags - {"sve", "bf16", "i8mm"}
    data = described(dataclasses.replace(observation, part=0xD0C, flags=flags), matrix=None)
    assert values(data["isa"]) == ["neon"]
    assert values(data["core"])["vector"] == {
        "fma_per_cycle": 1,
        "alu_per_cycle": 1,
        "convert_per_cycle": 0.5,
        "exp_per_vector": "12 cycles",
        "dot_bf16_per_cycle": 0,
        "dot_int8_per_cycle": 0,
        "dot_int16_per_cycle": 1,
    } | {"width": "512 bit", "fma_latency": "4 cycles", "dot_latency": "5 cycles", "registers": 32}


def test_without_cache_folders_the_base_stands_in() -> None:
    data = described(seen(BARE))
    assert values(data["caches"]) == {
        "L1": {"size": "48 KiB"},
        "L2": {"size": "2 MiB"},
        "L3": {"size": "64 MiB", "cores_per_instance": 4},
    }
    assert data["caches"]["L1"]["size"]["provenance"] == "estimated"
    assert "sysfs has no cpu*/cache folder here" in data["caches"]["L1"]["size"]["source"]
    assert values(data["sockets"]) == 1
    assert data["sockets"]["note"] == "the hypervisor numbers 4 packages but one NUMA node: counted as one socket"


def test_packages_with_numa_nodes_of_their_own_are_sockets() -> None:
    nodes = tuple(NumaNode(n, (n,), None) for n in range(4))
    data = described(dataclasses.replace(seen(BARE), numa_nodes=nodes))
    assert (values(data["sockets"]), values(data["cores_per_socket"])) == (4, 1)


def test_an_l3_that_bare_metal_does_not_list_is_absent() -> None:
    observation = seen(DESKTOP)
    caches = tuple(cache for cache in observation.caches if cache.level < 3)
    assert described(dataclasses.replace(observation, caches=caches))["caches"]["L3"] is None


def test_geometry_that_was_not_read_is_not_stated() -> None:
    observation = seen(DESKTOP)
    caches = tuple(dataclasses.replace(cache, ways=None) for cache in observation.caches)
    level = described(dataclasses.replace(observation, caches=caches))["caches"]["L2"]
    stated = {key: values(level)[key] for key in ("size", "cores_per_instance", "ways", "line", "sets")}
    assert stated == {"size": "256 KiB", "cores_per_instance": 1, "ways": 16, "line": "64 B", "sets": None}
    assert level["ways"]["provenance"] == "estimated"


def test_ways_that_do_not_divide_the_size_are_replaced() -> None:
    observation = seen(DESKTOP)
    caches = tuple(dataclasses.replace(cache, ways=None) for cache in observation.caches)
    level = described(dataclasses.replace(observation, caches=caches))["caches"]["L1"]
    assert values(level)["ways"] == 16  # 32 KiB; the base has 12
    assert level["ways"]["source"] == "sysfs gives no ways: a number that divides it"


def test_one_line_size_for_all_levels() -> None:
    observation = seen(GRAVITON)
    caches = tuple(dataclasses.replace(c, line_bytes=128) if c.level == 2 else c for c in observation.caches)
    level = described(dataclasses.replace(observation, caches=caches), matrix=None)["caches"]["L2"]
    assert (values(level)["line"], values(level)["sets"]) == ("64 B", 4096)
    assert level["line"]["source"] == "the L1's: the model has one line size, this level's is 128 B in sysfs"


def test_a_neighbour_borrows_its_base_as_estimates() -> None:
    data = described(dataclasses.replace(seen(TURIN), model=0x44))
    for name in ("core", "caches", "tlb", "prefetcher", "memory"):
        assert data[name]["provenance"] == "estimated"
    assert data["tlb"]["source"] == (
        "amd-epyc-9755's value: AuthenticAMD family 26 model 0x44 is Zen 5 (desktop); "
        "the nearest shipped spec is amd-epyc-9755"
    )
    assert values(data["tlb"])["l1_entries_4k"] == 96
    assert data["caches"]["L2"]["latency"] == "14 cycles"
    assert data["caches"]["L2"]["size"]["provenance"] == "measured"
    assert data["core"]["matrix"] is None


def test_features_without_rates_in_the_base_are_left_out() -> None:
    flags = seen(TURIN).flags | {"amx_tile", "amx_int8"}
    observation = dataclasses.replace(seen(TURIN), flags=flags)
    assert "amx_int8" not in values(described(observation, matrix=None)["isa"])
    text = describe(observation, base("amd-epyc-9755", matrix=None))
    assert "rates of amx_int8: amd-epyc-9755 has none, so they are left out" in text


@pytest.mark.parametrize("name", NAMES)
def test_described_hosts_are_valid_specs(name: str, tmp_path: Path) -> None:
    observation = seen(name)
    base_id = match(observation).base_id
    (tmp_path / f"{base_id}.yaml").write_text(specdump.dump_machine(base(base_id)))
    machine = specfile.load_machine_text(describe(observation, base(base_id)), "host.yaml", folder=tmp_path)
    assert machine.status == "detected"
    assert machine.cores_per_socket * machine.sockets <= len(observation.cores)
    assert machine.provenance["cores_per_socket"].kind == "measured"


@pytest.mark.parametrize("name", NAMES)
def test_detected_specs_inherit_from_shipped_ones(name: str) -> None:
    observation = seen(name)
    machine = specfile.load_machine_text(detect_spec(observation), "host.yaml")
    shipped = specfile.load_machine(match(observation).base_id)
    assert set(machine.isa) <= {*shipped.isa, "avx_vnni"}
    assert machine.clock.scalar[-1][0] == machine.cores_per_socket


@pytest.mark.parametrize("part", hostmatch._PARTS, ids=lambda part: part.design)
@pytest.mark.parametrize("flags", [AVX2, AVX512, AVX512 | {"avx512_bf16", "avx512_vnni", "avx_vnni"}])
def test_every_row_of_the_table_gives_a_valid_spec(part: Any, flags: set[str]) -> None:
    x86 = isinstance(part.vendor, str)
    changes: dict[str, Any] = (
        {"vendor": part.vendor, "family": part.family, "model": part.first, "flags": frozenset(flags)}
        if x86
        else {"implementer": part.vendor, "part": part.first}
    )
    observation = dataclasses.replace(seen(DESKTOP if x86 else GRAVITON), **changes)
    assert specfile.load_machine_text(detect_spec(observation), "host.yaml").status == "detected"


def test_affinity_counts_the_cores_left() -> None:
    data = described(dataclasses.replace(seen(XEON), allowed_cpus=(0, 1, 2, 112)))
    assert (values(data["cores_per_socket"]), values(data["sockets"])) == (3, 1)
    assert "this process may run on 3 of 112 cores" in data["cores_per_socket"]["note"]
    assert values(data["caches"])["L3"]["cores_per_instance"] == 3


@pytest.mark.parametrize(("quota", "sockets", "cores"), [(0.5, 1, 1), (56.0, 1, 56), (64.9, 2, 32), (500.0, 2, 56)])
def test_quota_over_sockets(quota: float, sockets: int, cores: int) -> None:
    data = described(dataclasses.replace(seen(XEON), cpu_quota=quota))
    assert (values(data["sockets"]), values(data["cores_per_socket"])) == (sockets, cores)


def test_odd_model_names_stay_readable_yaml() -> None:
    name = 'A "quoted": name # {with} \\ and \u00e9'
    assert described(dataclasses.replace(seen(TURIN), model_name=name))["name"] == f"{name}, 2 cores (virtual machine)"


def test_header_says_what_was_read_and_what_was_not() -> None:
    text = describe(seen(TURIN), base("amd-epyc-9755"))
    header = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    for words in (
        "Matched to amd-epyc-9755 with high confidence",
        "- topology: 2 CPUs online, 2 cores, 1 socket, 1 thread a core",
        "- transparent huge pages: madvise",
        "- the part itself: this is a virtual machine (cpuinfo flag 'hypervisor')",
        "- memory channels, transfer rate, bandwidth and latency: need privileges or a measurement",
        "- hidden or absent against amd-epyc-9755: amx_bf16, amx_int8",
    ):
        assert words in header
