"""Calls of AArch64 kernels from any host, as plain Python: the driver runs under qemu-user, or as it is on AArch64."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernels.build import BuildError, Variant, build, cache_folder, find_compiler
from kernels.isa import machine

AARCH64 = "aarch64"
SOURCE = Path(__file__).with_name("driver.cpp")
INTEGER, FLOAT, BUFFER, FUNCTION, NOTHING = range(5)


@dataclass(frozen=True)
class Function:
    """One function of a compiled kernel."""

    operator: str
    isa: str
    symbol: str

    @functools.cached_property
    def path(self) -> Path:
        """The shared object for AArch64, compiled now if need be."""
        return build(Variant(self.operator, self.isa), target_machine=AARCH64)


@dataclass(frozen=True)
class Record:
    """A C struct by value: its pointer fields point at arrays, records or functions."""

    plain: ctypes.Structure
    pointers: Mapping[str, Any]


def cross() -> str:
    """What `find_compiler` is asked for: nothing on AArch64 itself."""
    return "" if machine() == AARCH64 else AARCH64


def launcher() -> list[str]:
    """The command that runs an AArch64 program here. Raises BuildError that says what to install."""
    if not cross():
        return []
    for name in ("qemu-aarch64", "qemu-aarch64-static"):
        if path := shutil.which(name):
            return [path, "-L", "/usr/aarch64-linux-gnu"]
    raise BuildError("there is no qemu-aarch64: install qemu-user (Debian: apt-get install qemu-user)")


def missing() -> str:
    """Why AArch64 kernels cannot be built and run here, or ''."""
    try:
        find_compiler(cross())
        launcher()
    except BuildError as error:
        return str(error)
    return ""


def driver() -> Path:
    """The compiled driver, named by what went into it."""
    compiler = find_compiler(cross())
    digest = hashlib.sha256(f"{compiler}".encode() + SOURCE.read_bytes()).hexdigest()[:20]
    target = cache_folder() / f"driver-{digest}"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        temporary = Path(folder) / "driver"
        command = [compiler.path, "-std=c++20", "-O1", "-Wall", "-Wextra", str(SOURCE), "-o", str(temporary), "-ldl"]
        subprocess.run(command, check=True, timeout=120)
        os.replace(temporary, target)
    return target


class _Request:
    """Buffers and functions of one call, numbered as they are met."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self.buffers: list[bytes] = []
        self.returned: list[Any] = []

    def function(self, wanted: Function) -> int:
        if wanted not in self.functions:
            self.functions.append(wanted)
        return self.functions.index(wanted)

    def reference(self, value: Any) -> tuple[int, int]:
        """(kind, value) of an argument or of what a pointer field points at."""
        if value is None:
            return NOTHING, 0
        if isinstance(value, Function):
            return FUNCTION, self.function(value)
        if isinstance(value, Record):
            return BUFFER, self.record(value)
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            return BUFFER, self.buffer(value.tobytes(), [], value if value.flags.writeable else None)
        if isinstance(value, float):
            return FLOAT, int.from_bytes(struct.pack("<f", value), "little")
        return INTEGER, int(value)

    def record(self, record: Record) -> int:
        patches = []
        for name, value in record.pointers.items():
            kind, index = self.reference(value)
            if kind != NOTHING:
                patches.append((_offset(type(record.plain), name), kind, index))
        return self.buffer(bytes(record.plain), patches, None)

    def buffer(self, data: bytes, patches: list[tuple[int, int, int]], returned: Any) -> int:
        flat = [number for patch in patches for number in patch]
        head = struct.pack("<qq", len(data), returned is not None)
        self.buffers.append(head + data + struct.pack(f"<{1 + len(flat)}q", len(patches), *flat))
        self.returned.append(returned)
        return len(self.buffers) - 1


def _offset(kind: type[ctypes.Structure], name: str) -> int:
    """Offset of a field; 'a.b' is field b of the struct a."""
    first, _, rest = name.partition(".")
    own = int(getattr(kind, first).offset)
    return own + _offset({f[0]: f[1] for f in kind._fields_}[first], rest) if rest else own


class Emulator:
    """A running driver. Arrays that are writeable come back changed, as from a call in this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Function, *arguments: Any) -> int:
        """The 64-bit integer that the function returns. Arguments: integers, floats (fp32), arrays, Records, None."""
        request = _Request()
        called = request.function(function)
        values = [number for argument in arguments for number in request.reference(argument)]
        message = [struct.pack("<q", len(request.functions))]
        for f in request.functions:
            for text in (str(f.path), f.symbol):
                message.append(struct.pack("<q", len(text)) + text.encode())
        message += [struct.pack("<q", len(request.buffers)), *request.buffers]
        message.append(struct.pack(f"<{2 + len(values)}q", called, len(arguments), *values))
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(b"".join(message))
            process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(self._died(function)) from None
        (result,) = struct.unpack("<q", self._read(8, function))
        for array in request.returned:
            if array is not None:
                array[...] = np.frombuffer(self._read(array.nbytes, function), dtype=array.dtype).reshape(array.shape)
        return int(result)

    def close(self) -> None:
        """Ends the driver."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(timeout=30)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [*launcher(), str(driver())]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process

    def _read(self, size: int, function: Function) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise AssertionError(self._died(function))
        return data

    def _died(self, function: Function) -> str:
        assert self._process is not None
        code = self._process.wait(timeout=30)
        self._process = None
        return f"the driver ended with {code} in {function.symbol} of {function.operator}/{function.isa}"
