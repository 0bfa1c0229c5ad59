"""The GEMM libraries that look-up is held against: where oneDNN and OpenBLAS lie, and the compiled FFN around each.

Both come from PyPI (`pip install lookupsim[gemm]`: onednn-devel-cpu-gomp, scipy-openblas32); a system-wide oneDNN 3 serves too.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kernels.build import COMMON_FLAGS, OWN_INCLUDES, ROOT, compile_shared, find_compiler
from kernels.host import HostError, observe
from kernels.isa import ISAS, why_not
from kernels.library import I64, POINTER, KernelError

Library = Literal["onednn", "openblas"]
LIBRARIES: tuple[Library, ...] = ("onednn", "openblas")
# Lets loops over activations become vectors, without the start-up code of -ffast-math, which flushes subnormals everywhere.
_VECTOR_MATH = (
    "-fassociative-math",
    "-freciprocal-math",
    "-fno-signed-zeros",
    "-fno-trapping-math",
    "-ffinite-math-only",
)
_ADVICE = "install it with: pip install 'lookupsim[gemm]'"


@dataclass(frozen=True)
class GemmLibrary:
    """A compiled FFN around one library. `handle` gives gemm_make, gemm_run and gemm_free."""

    name: Library
    version: str
    core_type: str
    """Which of its kernels the library chose, as far as it tells."""
    handle: ctypes.CDLL


class OpenBlas(ctypes.Structure):
    """`struct OpenBlas` of gemm/openblas.cpp: addresses in the loaded library."""

    _fields_ = tuple((name, POINTER) for name in ("sgemm", "sgemv", "set_threads"))


def _flags() -> tuple[str, ...]:
    best = next((isa for isa in (ISAS["avx512"], ISAS["avx2"]) if not why_not(isa)), ISAS["scalar"])
    chosen = best.flags if best.name != "scalar" else ()
    return (*COMMON_FLAGS, *chosen, *_VECTOR_MATH, "-fopenmp", OWN_INCLUDES)


def _onednn_prefix() -> Path:
    """The folder whose include/ and lib/ hold oneDNN 3. Raises KernelError."""
    for prefix in (Path(sys.prefix), Path("/usr/local"), Path("/usr")):
        version = prefix / "include" / "oneapi" / "dnnl" / "dnnl_version.h"
        if version.is_file() and "#define DNNL_VERSION_MAJOR 3" in version.read_text():
            return prefix
    raise KernelError(f"oneDNN 3 is not here: {_ADVICE}")


@functools.cache
def load_onednn() -> GemmLibrary:
    """The FFN through oneDNN. Raises KernelError or BuildError."""
    prefix = _onednn_prefix()
    folder = prefix / "lib"
    flags = (*_flags(), f"-I{prefix / 'include'}", f"-L{folder}", f"-Wl,-rpath,{folder}", "-ldnnl")
    path = compile_shared(ROOT / "gemm" / "onednn.cpp", "gemm-onednn", flags, find_compiler())
    try:
        handle = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelError(f"oneDNN cannot be loaded: {error}") from None
    numbers = (I64 * 3)()
    handle.gemm_version(numbers)
    return GemmLibrary("onednn", ".".join(str(n) for n in numbers), "by its own dispatch", handle)


@contextlib.contextmanager
def _core_type() -> Iterator[None]:
    """OpenBLAS up to 0.3.34 takes Zen 4 and Zen 5 for Haswell and runs at half speed: its AVX-512 kernels are named for it.

    It reads the variable once, when it is loaded (OpenBLAS issues 6029, 6033).
    """
    before = os.environ.pop("OPENBLAS_CORETYPE", None)
    try:
        seen = observe()
        if seen.vendor == "AuthenticAMD" and "avx512f" in seen.flags:
            os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    except HostError:
        pass  # an unknown host: the library's own choice stands
    try:
        yield
    finally:
        os.environ.pop("OPENBLAS_CORETYPE", None)
        if before is not None:
            os.environ["OPENBLAS_CORETYPE"] = before


@functools.cache
def _openblas() -> ctypes.CDLL:
    """scipy-openblas32's shared library, loaded apart from NumPy's own copy."""
    found = importlib.util.find_spec("scipy_openblas32")
    if found is None or found.origin is None:
        raise KernelError(f"OpenBLAS is not here: {_ADVICE}")
    names = sorted((Path(found.origin).parent / "lib").glob("libscipy_openblas*.so"))
    if not names:
        raise KernelError(f"OpenBLAS is not here: no library in {Path(found.origin).parent / 'lib'}")
    with _core_type():
        try:
            return ctypes.CDLL(str(names[0]))
        except OSError as error:
            raise KernelError(f"OpenBLAS cannot be loaded: {error}") from None


@functools.cache
def load_openblas() -> GemmLibrary:
    """The FFN through OpenBLAS. Raises KernelError or BuildError."""
    blas = _openblas()
    path = compile_shared(ROOT / "gemm" / "openblas.cpp", "gemm-openblas", _flags(), find_compiler())
    handle = ctypes.CDLL(str(path))
    blas.scipy_openblas_get_config.restype = ctypes.c_char_p
    blas.scipy_openblas_get_corename.restype = ctypes.c_char_p
    words = blas.scipy_openblas_get_config().decode().split()
    version = words[1] if len(words) > 1 else "unknown"
    return GemmLibrary("openblas", version, blas.scipy_openblas_get_corename().decode(), handle)


def openblas_functions() -> OpenBlas:
    """What gemm/openblas.cpp calls."""
    blas = _openblas()

    def at(name: str) -> int | None:
        found: Any = getattr(blas, name, None)
        return None if found is None else ctypes.cast(found, POINTER).value

    return OpenBlas(at("scipy_cblas_sgemm"), at("scipy_cblas_sgemv"), at("scipy_openblas_set_num_threads"))


def load_library(name: Library) -> GemmLibrary:
    """The library of that name. Raises KernelError or BuildError."""
    return load_onednn() if name == "onednn" else load_openblas()
