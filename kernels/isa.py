"""Instruction sets that kernels are written for: compiler flags, what the CPU must have, and permission to use tiles."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from dataclasses import dataclass

from kernels.host import HostError, observe

_ARCH_REQ_XCOMP_PERM = 0x1023
_XFEATURE_XTILEDATA = 18
_SYS_ARCH_PRCTL = 158


@dataclass(frozen=True)
class Isa:
    """One instruction set. `cpu_flags` are the names in /proc/cpuinfo that a CPU must list to run it."""

    name: str
    machine: str
    flags: tuple[str, ...]
    cpu_flags: frozenset[str]


def _x86(name: str, cpu_flags: str, *flags: str) -> Isa:
    return Isa(name, "x86_64", flags, frozenset(cpu_flags.split()))


_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
_AVX512_CPU = "avx2 fma avx512f avx512bw avx512dq avx512vl"
_DOTS = ("-mavx512vnni", "-mavx512bf16")
_DOTS_CPU = f"{_AVX512_CPU} avx512_vnni avx512_bf16"
_TILES = ("-mamx-tile", "-mamx-bf16", "-mamx-int8")

ISAS = {
    isa.name: isa
    for isa in (
        Isa("scalar", "", ("-fno-tree-vectorize", "-fno-tree-slp-vectorize"), frozenset()),
        _x86("avx2", "avx2 fma", *_AVX2),
        _x86("avx512", _AVX512_CPU, *_AVX512),
        _x86("avx512_vnni", f"{_AVX512_CPU} avx512_vnni", *_AVX512, "-mavx512vnni"),
        _x86("avx512_bf16", f"{_AVX512_CPU} avx512_bf16", *_AVX512, "-mavx512bf16"),
        _x86("amx", f"{_DOTS_CPU} amx_tile amx_bf16 amx_int8", *_AVX512, *_DOTS, *_TILES),
        Isa("neon", "aarch64", ("-march=armv8.2-a+dotprod",), frozenset({"asimd", "asimddp"})),
    )
}
"""From the least to the most capable; a later one is preferred where both run."""

EMULATED_TILES = _x86("amx_emulated", _DOTS_CPU, *_AVX512, *_DOTS, "-DLOOKUPSIM_EMULATE_TILES")
"""The sources of "amx" with their tile instructions in plain C++: for tests on CPUs without tiles, never chosen by itself."""


@functools.cache
def machine() -> str:
    """'x86_64' or 'aarch64', as compilers name it."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


@functools.cache
def _host_flags() -> frozenset[str]:
    try:
        return observe().flags
    except HostError:
        return frozenset()


def why_not(isa: Isa) -> str:
    """Empty if this host runs `isa`, else the reason in words."""
    if isa.machine and isa.machine != machine():
        return f"needs {isa.machine}, this host is {machine()}"
    missing = sorted(isa.cpu_flags - _host_flags())
    if missing:
        return f"this CPU lacks {', '.join(missing)}"
    if isa.name == "amx" and not _tiles_permitted():
        return "the kernel does not permit tile data (arch_prctl)"
    return ""


@functools.cache
def _tiles_permitted() -> bool:
    """Asks Linux for the tile registers, which a process must do once before it touches them."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0)
