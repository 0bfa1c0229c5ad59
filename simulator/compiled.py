"""What a compiled function is made of, for numba's cache on disk.

Numba keys a cached function by its own file, bytecode and closure, not by the functions in other files that it calls: after a
change there it would go on with the old machine code. So a function that calls into other files is made by a factory whose
argument, a digest of those files, lies in its closure; the functions that it calls are not cached by themselves.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any

from numba import njit

OPTIONS: Any = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""No checks for division by zero, and no reference counts: compiled functions allocate nothing."""

kernel: Any = njit(**OPTIONS)
"""Compiles a function that compiled functions call."""


def digest(*modules: ModuleType) -> str:
    """A digest of the modules' source files."""
    found = hashlib.blake2b(digest_size=16)
    for module in modules:
        found.update(Path(str(module.__file__)).read_bytes())
    return found.hexdigest()
