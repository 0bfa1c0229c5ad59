"""Compiled kernels as Python callables: which variant runs on this host, loaded through ctypes."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

from kernels.build import BuildError, Variant, build, variants
from kernels.isa import ISAS, machine, why_not

SANITIZE_VARIABLE = "LOOKUPSIM_SANITIZE"
"""Set to 1: kernels are built with sanitizers; the process must have preloaded their runtime (`make sanitize`)."""

I64, F32, POINTER = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p


class KernelError(Exception):
    """No compiled kernel can do what was asked on this host; the message says why."""


class Bh4(ctypes.Structure):
    """`struct Bh4` of include/lookup.hpp."""

    _fields_ = (
        *((name, I64) for name in ("padded", "repeats", "stages", "block")),
        *((name, POINTER) for name in ("weights", "scales", "bias", "order")),
        ("mix_projected", F32),
        ("mix_input", F32),
        ("limit", I64),
        ("correction", POINTER),
    )


class Dense(ctypes.Structure):
    """`struct Dense` of include/lookup.hpp."""

    _fields_ = (
        *((name, I64) for name in ("width", "depth", "outputs", "chunk")),
        *((name, POINTER) for name in ("weights", "scales", "bias")),
        ("limit", I64),
        ("correction", POINTER),
    )


class Tables(ctypes.Structure):
    """`struct Tables` of include/lookup.hpp."""

    _fields_ = (
        *((name, I64) for name in ("tables", "rows", "columns", "stripe")),
        *((name, POINTER) for name in ("data", "scales", "bias")),
        ("scale_group", I64),
    )


class GatherSchedule(ctypes.Structure):
    """`struct GatherSchedule` of include/lookup.hpp."""

    _fields_ = tuple(
        (name, I64) for name in ("token_tile", "table_group", "near_tokens", "bulk", "table_begin", "table_end")
    )


class Stages(ctypes.Structure):
    """`struct Stages` of include/encode.hpp: addresses of the stages' functions."""

    _fields_ = tuple((name, POINTER) for name in ("layer_norm", "project", "project_scratch", "code_score", "gather"))


class Layer(ctypes.Structure):
    """`struct Layer` of include/encode.hpp."""

    _fields_ = (
        ("gamma", POINTER),
        ("beta", POINTER),
        *((name, I64) for name in ("hidden", "width", "outputs", "bits", "layout", "mixes", "tables")),
        ("epsilon", F32),
        ("projection", POINTER),
        ("rows", Tables),
        ("parts", I64),
        ("part", POINTER),
        ("part_outputs", I64),
        ("part_tables", I64),
    )


class Schedule(ctypes.Structure):
    """`struct Schedule` of lookup_ffn/scalar.cpp."""

    _fields_ = (("project_tile", I64), ("token_tile", I64), ("split", I64), ("gather", GatherSchedule))


class StageArrays(ctypes.Structure):
    """`struct StageArrays` of lookup_ffn/scalar.cpp: what one stage reads and writes."""

    _fields_ = (
        ("x", POINTER),
        *((name, I64) for name in ("x_stride", "tokens")),
        *((name, POINTER) for name in ("x1", "mix", "z")),
        *((name, I64) for name in ("z_stride", "layout")),
        *((name, POINTER) for name in ("codes", "scores")),
        ("code_stride", I64),
    )


@functools.cache
def load(variant: Variant) -> ctypes.CDLL:
    """The compiled variant, built now if it is not there yet. Raises BuildError or KernelError."""
    path = build(variant, sanitize=os.environ.get(SANITIZE_VARIABLE) == "1")
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelError(f"{path}: cannot be loaded: {error}") from None


def runnable(operator: str, isa: str | None = None) -> tuple[Variant, ...]:
    """Variants of an operator that this host runs, most capable first; `isa` caps the capability."""
    return tuple(v for v in _allowed(operator, isa) if not why_not(v.isa))


def _allowed(operator: str, isa: str | None) -> tuple[Variant, ...]:
    names = list(ISAS)
    if isa is not None and isa not in names:
        raise KernelError(f"there is no instruction set '{isa}'; there are {', '.join(names)}")
    allowed = names if isa is None else names[: names.index(isa) + 1]
    return tuple(v for v in reversed(variants(operator)) if v.isa_name in allowed)


def function(operator: str, symbol: str, isa: str | None = None) -> Any:
    """`symbol` of the most capable variant that has it. Raises KernelError if none does."""
    reasons = []
    for variant in _allowed(operator, isa):
        if reason := why_not(variant.isa):
            if variant.isa.machine in ("", machine()):
                reasons.append(f"{variant.isa_name} is not run: {reason}")
            continue
        try:
            found = getattr(load(variant), symbol, None)
        except (BuildError, KernelError) as error:
            reasons.append(str(error))
            continue
        if found is not None:
            return found
    detail = f": {'; '.join(dict.fromkeys(reasons))}" if reasons else ""
    raise KernelError(f"no kernel on this host gives {operator} as {symbol}{detail}")


def address(pointer: Any) -> int:
    """The address of a C function, for a struct of functions."""
    value = ctypes.cast(pointer, POINTER).value
    assert value is not None
    return value
