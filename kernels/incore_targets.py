"""CPUs that marked loops are analysed for, and the compilers that make them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field, replace

from kernels import isa
from simulator.machine import Machine

_ZEN4, _ZEN5, _ICE_LAKE, _SAPPHIRE_RAPIDS = (
    "amd-epyc-9654", "amd-epyc-9755", "intel-xeon-platinum-8380", "intel-xeon-platinum-8480plus")  # fmt: skip
_X86 = ("scalar", "avx2", "avx512")
_ARM = ("scalar", "neon")


@dataclass(frozen=True)
class Target:
    """A scheduling model of LLVM (-mcpu). `isas`: kernels that the CPU runs; `spec`: its shipped description, '' if none."""

    name: str
    machine: str
    isas: tuple[str, ...]
    spec: str = ""


TARGETS = (
    Target("znver4", "x86_64", (*_X86, "avx512_vnni", "avx512_bf16"), _ZEN4),
    Target("znver5", "x86_64", (*_X86, "avx512_vnni", "avx512_bf16"), _ZEN5),
    Target("skylake-avx512", "x86_64", _X86),
    Target("cascadelake", "x86_64", (*_X86, "avx512_vnni")),
    Target("icelake-server", "x86_64", (*_X86, "avx512_vnni"), _ICE_LAKE),
    Target("sapphirerapids", "x86_64", (*_X86, "avx512_vnni", "avx512_bf16", "amx"), _SAPPHIRE_RAPIDS),
    Target("neoverse-n1", "aarch64", _ARM),
    Target("neoverse-v1", "aarch64", _ARM),
    Target("neoverse-v2", "aarch64", _ARM, "aws-graviton4"),
)

TWO_PASSES = frozenset({_ZEN4})
"""Specs of CPUs that run a 512-bit instruction as two passes of a 256-bit pipe."""


def narrow(machine: Machine) -> Machine:
    """A CPU of TWO_PASSES as AVX2 code meets it: twice the instructions of half the width, 16 registers, no dot products."""
    vector = machine.core.vector
    halved = replace(
        vector,
        width_bits=vector.width_bits / 2,
        fma_per_cycle=vector.fma_per_cycle * 2,
        alu_per_cycle=vector.alu_per_cycle * 2,
        convert_per_cycle=vector.convert_per_cycle * 2,
        dot_bf16_per_cycle=0.0,
        dot_int16_per_cycle=0.0,
        dot_int8_per_cycle=0.0,
        exp_cycles_per_vector=vector.exp_cycles_per_vector / 2,
        registers=16.0,
    )
    return replace(machine, isa=("avx2",), core=replace(machine.core, vector=halved))


@dataclass(frozen=True)
class Toolchain:
    """A compiler for one machine."""

    name: str
    machine: str
    command: tuple[str, ...]
    version: str = field(compare=False)


def toolchains() -> tuple[list[Toolchain], list[str]]:
    """(compilers that are there, what is missing and what to install)."""
    wanted: list[tuple[str, str, tuple[str, ...], str]] = []
    for kind in ("x86_64", "aarch64"):
        cross = kind != isa.machine()
        gcc = f"{kind}-linux-gnu-g++" if cross else "g++"
        wanted.append(("g++", kind, (gcc,), f"g++-{kind.replace('_', '-')}-linux-gnu" if cross else "g++"))
        wanted.append(("clang++-22", kind, ("clang++-22", f"--target={kind}-linux-gnu"), "clang-22"))
    found, missing = [], []
    for name, kind, command, package in wanted:
        path = shutil.which(command[0])
        if path is None:
            missing.append(f"{name} for {kind}: {command[0]} is not there: install {package}")
            continue
        text = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30).stdout
        found.append(Toolchain(name, kind, (path, *command[1:]), text.splitlines()[0] if text else path))
    return found, missing
