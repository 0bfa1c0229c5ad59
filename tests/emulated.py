"""A layer whose projection runs the AMX kernels with their tiles in plain C++ (kernels/include/tile_emulation.hpp)."""

from __future__ import annotations

from kernels import library
from kernels.build import Variant
from kernels.isa import EMULATED_TILES, why_not
from kernels.library import I64, KernelError, load
from kernels.lookup import LookupFfn

DTYPES = ("bf16", "int8")
"""Projections that have kernels on tiles."""


def on_emulated_tiles(ffn: LookupFfn) -> LookupFfn:
    """`ffn` itself, its projection exchanged. Raises KernelError where even the vector part of the kernels cannot run."""
    if reason := why_not(EMULATED_TILES):
        raise KernelError(f"emulated tiles: {reason}")
    projection = ffn._projection
    kernels = load(Variant(projection.operator, "amx", emulated=True))
    ffn._functions["project"] = getattr(kernels, projection.symbol)
    ffn._functions["project_scratch"] = getattr(kernels, f"{projection.symbol}_scratch")
    ffn._functions["project_scratch"].restype = I64
    ffn._stages = library.Stages(**{name: library.address(f) for name, f in ffn._functions.items()})
    return ffn
