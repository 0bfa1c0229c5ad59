"""The shipped spec that is nearest to an observed host, from a table of parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from kernels.host import HostError, HostObservation
from simulator.machine import Isa

Confidence = Literal["high", "medium", "low"]


class Match(NamedTuple):
    """The shipped spec to inherit from. high: the same design; medium: a neighbour; low: instruction sets alone."""

    base_id: str
    confidence: Confidence
    reason: str


@dataclass(frozen=True)
class Part:
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
    Part(_INTEL, 6, 0x6A, 0x6A, _ICE_LAKE, "Ice Lake-SP", same=True),
    Part(_INTEL, 6, 0x6C, 0x6C, _ICE_LAKE, "Ice Lake-D", same=True),
    Part(_INTEL, 6, 0x55, 0x55, _ICE_LAKE, "Skylake-SP, Cascade Lake or Cooper Lake", same=False),
    Part(_INTEL, 6, 0x8F, 0x8F, _SAPPHIRE_RAPIDS, "Sapphire Rapids", same=True),
    Part(_INTEL, 6, 0xCF, 0xCF, _SAPPHIRE_RAPIDS, "Emerald Rapids", same=False),
    Part(_INTEL, 6, 0xAD, 0xAE, _SAPPHIRE_RAPIDS, "Granite Rapids", same=False),
    Part(_AMD, 23, 0x30, 0xAF, _MILAN, "Zen 2", same=False),
    Part(_AMD, 25, 0x00, 0x0F, _MILAN, "Zen 3", same=True),
    Part(_AMD, 25, 0x20, 0x5F, _MILAN, "Zen 3 (desktop or mobile)", same=False),
    Part(_AMD, 25, 0x10, 0x1F, _GENOA, "Zen 4", same=True),
    Part(_AMD, 25, 0x60, 0x7F, _GENOA, "Zen 4 (desktop or mobile)", same=False),
    Part(_AMD, 25, 0xA0, 0xAF, _GENOA, "Zen 4c", same=False),
    Part(_AMD, 26, 0x00, 0x0F, _TURIN, "Zen 5", same=True),
    Part(_AMD, 26, 0x10, 0x1F, _TURIN, "Zen 5c", same=False),
    Part(_AMD, 26, 0x20, 0x2F, _TURIN, "Zen 5 (mobile, 256-bit data paths)", same=False, vector_share=0.5),
    Part(_AMD, 26, 0x40, 0x4F, _TURIN, "Zen 5 (desktop)", same=False),
    Part(_AMD, 26, 0x60, 0x6F, _TURIN, "Zen 5 (mobile, 256-bit data paths)", same=False, vector_share=0.5),
    Part(_AMD, 26, 0x70, 0x7F, _TURIN, "Zen 5 (mobile)", same=False),
    Part(_AMD, 26, 0x50, 0xFF, _TURIN, "a successor of Zen 5", same=False),
    Part(_ARM, None, 0xD4F, 0xD4F, _GRAVITON4, "Neoverse V2", same=True),
    Part(_ARM, None, 0xD40, 0xD40, _GRAVITON4, "Neoverse V1", same=False),
    Part(_ARM, None, 0xD83, 0xD84, _GRAVITON4, "Neoverse V3", same=False),
    Part(_ARM, None, 0xD0C, 0xD0C, _GRAVITON4, "Neoverse N1", same=False, vector_share=0.5),
    Part(_ARM, None, 0xD49, 0xD49, _GRAVITON4, "Neoverse N2", same=False, vector_share=0.5),
    Part(_ARM, None, 0xD8E, 0xD8E, _GRAVITON4, "Neoverse N3", same=False, vector_share=0.5),
)  # fmt: skip

VENDOR_NAMES: dict[str | int, str] = {
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
    isa = usable_isa(observation)
    identity = identity_of(observation)
    part = find_part(observation)
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


def usable_isa(observation: HostObservation) -> tuple[Isa, ...]:
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


def identity_of(observation: HostObservation) -> str:
    """The numbers by which a part is found in the table, in words."""
    if observation.architecture == "aarch64":
        return f"implementer {hexadecimal(observation.implementer)} part {hexadecimal(observation.part)}"
    return (
        f"{observation.vendor} family {'unknown' if observation.family is None else observation.family} "
        f"model {hexadecimal(observation.model)}"
    )


def hexadecimal(number: int | None) -> str:
    """A number as 0x.., or 'unknown'."""
    return "unknown" if number is None else f"{number:#04x}"


def find_part(observation: HostObservation) -> Part | None:
    """The host's row of the table, or None."""
    arm = observation.architecture == "aarch64"
    vendor, family = (observation.implementer, None) if arm else (observation.vendor, observation.family)
    number = observation.part if arm else observation.model
    for part in _PARTS:
        if part.vendor == vendor and part.family == family and number is not None and part.first <= number <= part.last:
            return part
    return None
