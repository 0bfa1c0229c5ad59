"""Compiled kernels as Python callables: which variant runs on this host, loaded through ctypes."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

from kernels.build import BuildError, Variant, build, variants
from kernels.isa import ISAS, why_not

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
    )


class GatherSchedule(ctypes.Structure):
    """`struct GatherSchedule` of include/lookup.hpp."""

    _fields_ = tuple((name, I64) for name in ("token_tile", "table_group", "near_tokens", "bulk"))


class Stages(ctypes.Structure):
    """`struct Stages` of lookup_ffn/scalar.cpp: addresses of the stages' functions."""

    _fields_ = tuple((name, POINTER) for name in ("layer_norm", "project", "project_scratch", "code_score", "gather"))


class Layer(ctypes.Structure):
    """`struct Layer` of lookup_ffn/scalar.cpp."""

    _fields_ = (
        ("gamma", POINTER),
        ("beta", POINTER),
        *((name, I64) for name in ("hidden", "width", "outputs", "bits", "layout", "mixes", "tables")),
        ("epsilon", F32),
        ("projection", POINTER),
        ("rows", Tables),
    )


class Schedule(ctypes.Structure):
    """`struct Schedule` of lookup_ffn/scalar.cpp."""

    _fields_ = (("project_tile", I64), ("token_tile", I64), ("gather", GatherSchedule))


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
    names = list(ISAS)
    if isa is not None and isa not in names:
        raise KernelError(f"there is no instruction set '{isa}'; there are {', '.join(names)}")
    allowed = names if isa is None else names[: names.index(isa) + 1]
    return tuple(v for v in reversed(variants(operator)) if v.isa_name in allowed and not why_not(v.isa))


def function(operator: str, symbol: str, isa: str | None = None) -> Any:
    """`symbol` of the most capable variant that has it. Raises KernelError if none does."""
    reasons = []
    for variant in runnable(operator, isa):
        try:
            found = getattr(load(variant), symbol, None)
        except (BuildError, KernelError) as error:
            reasons.append(str(error))
            continue
        if found is not None:
            return found
    detail = f": {'; '.join(reasons)}" if reasons else ""
    raise KernelError(f"no kernel on this host gives {operator} as {symbol}{detail}")


def address(pointer: Any) -> int:
    """The address of a C function, for a struct of functions."""
    value = ctypes.cast(pointer, POINTER).value
    assert value is not None
    return value
