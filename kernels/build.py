"""Compiles kernel sources with the system compiler on first use and keeps the result.

A compiled file is named by a hash of its sources, flags and compiler, so that nothing stale is ever loaded; it appears by
rename, so that two processes that build at once never see half a file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kernels.isa import EMULATED_TILES, ISAS, Isa, machine

ROOT = Path(__file__).resolve().parent
COMMON_FLAGS = (
    *("-std=c++20", "-O3", "-fPIC", "-shared", "-pthread", "-fno-math-errno", "-fvisibility=hidden"),
    *("-Wall", "-Wextra", "-Werror=return-type"),
    # GCC 12 takes the "undefined" operands of its own AVX-512 intrinsics for uninitialised variables (its bug 105593).
    *("-Wno-uninitialized", "-Wno-maybe-uninitialized"),
)
OWN_INCLUDES = f"-I{ROOT / 'include'}"
SANITIZE_FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g")
CACHE_VARIABLE = "LOOKUPSIM_CACHE"
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


class BuildError(Exception):
    """A kernel cannot be compiled or kept; the message is for the user."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: how it is called, what it says it is, and the machine that it compiles for."""

    path: str
    version: str
    target: str


@dataclass(frozen=True, order=True)
class Variant:
    """One operator for one instruction set: `kernels/<operator>/<isa>.cpp`. `emulated`: its tiles in plain C++ (AMX)."""

    operator: str
    isa_name: str
    emulated: bool = False

    @property
    def isa(self) -> Isa:
        """Flags and CPU requirements."""
        return EMULATED_TILES if self.emulated else ISAS[self.isa_name]

    @property
    def source(self) -> Path:
        """The file that is compiled."""
        return ROOT / self.operator / f"{self.isa_name}.cpp"


def variants(operator: str | None = None) -> tuple[Variant, ...]:
    """Every kernel source there is, by operator, then from the least to the most capable instruction set."""
    order = list(ISAS)
    found = [Variant(path.parent.name, path.stem) for path in ROOT.glob("*/*.cpp") if path.stem in ISAS]
    found = [v for v in found if operator in (None, v.operator)]
    return tuple(sorted(found, key=lambda v: (v.operator, order.index(v.isa_name))))


@functools.cache
def find_compiler(cross: str = "") -> Compiler:
    """The C++ compiler of $CXX, else g++, clang++ or c++; with `cross` ('aarch64') that machine's.

    Raises BuildError that says what to install.
    """
    given = os.environ.get("CXX", "")
    if cross:
        names = [f"{cross}-linux-gnu-g++"]
    else:
        names = [given] if given else ["g++", "clang++", "c++"]
    for name in names:
        path = shutil.which(name)
        if path is None:
            continue
        try:
            version = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
            target = subprocess.run(
                [path, "-dumpmachine"], capture_output=True, text=True, timeout=30, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise BuildError(f"{path}: this compiler does not run: {error}") from None
        return Compiler(path, version.splitlines()[0] if version else path, target.strip().split("-")[0])
    if cross:
        package = f"g++-{cross.replace('_', '-')}-linux-gnu"
        raise BuildError(f"there is no compiler for {cross}: install {package} (Debian: apt-get install {package})")
    wanted = f"$CXX is '{given}', which is not there" if given else "there is no C++ compiler"
    raise BuildError(f"kernels are compiled on first use, but {wanted}: install g++ (Debian: apt-get install g++)")


def cache_folder() -> Path:
    """Where compiled kernels are kept: $LOOKUPSIM_CACHE, else the user's cache folder."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lookupsim" / "kernels"


def sources(path: Path) -> tuple[Path, ...]:
    """`path` and every file that it includes by a quoted name, in the order in which they are met."""
    found: dict[Path, None] = {}
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found[current] = None
        for name in _INCLUDE.findall(current.read_text()):
            for candidate in (current.parent / name, ROOT / "include" / name):
                if candidate.is_file():
                    waiting.append(candidate.resolve())
                    break
    return tuple(found)


def flags_of(variant: Variant, sanitize: bool = False) -> tuple[str, ...]:
    """Everything on the compiler's command line but the files."""
    return (*COMMON_FLAGS, *variant.isa.flags, *(SANITIZE_FLAGS if sanitize else ()), OWN_INCLUDES)


def compiled_path(variant: Variant, compiler: Compiler, flags: Sequence[str]) -> Path:
    """The file that holds this variant, whether it exists or not."""
    return _kept_at(variant.source, f"{variant.operator}-{variant.isa.name}", compiler, flags)


def _kept_at(source: Path, stem: str, compiler: Compiler, flags: Sequence[str]) -> Path:
    digest = hashlib.sha256()
    relative = [flag for flag in flags if flag != OWN_INCLUDES]
    for part in (compiler.path, compiler.version, compiler.target, *relative):
        digest.update(part.encode() + b"\0")
    for path in sources(source):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return cache_folder() / f"{stem}-{digest.hexdigest()[:20]}.so"


def build(variant: Variant, *, sanitize: bool = False, target_machine: str = "") -> Path:
    """The compiled file of a variant, made now if it is not there yet, for this machine or another. Raises BuildError."""
    wanted = variant.isa.machine or target_machine
    compiler = find_compiler(wanted if wanted not in ("", machine()) else "")
    return compile_shared(
        variant.source, f"{variant.operator}-{variant.isa.name}", flags_of(variant, sanitize), compiler
    )


def compile_shared(source: Path, stem: str, flags: Sequence[str], compiler: Compiler) -> Path:
    """`source` as a shared library in the cache folder, made now if it is not there yet. Raises BuildError."""
    target = _kept_at(source, stem, compiler, flags)
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".so")
        os.close(handle)
    except OSError as error:
        raise BuildError(
            f"{target.parent}: compiled kernels cannot be kept here: {error.strerror}; set {CACHE_VARIABLE}"
        ) from None
    try:
        # Libraries stand behind the source that needs them.
        compiling = [flag for flag in flags if not flag.startswith("-l")]
        linking = [flag for flag in flags if flag.startswith("-l")]
        command = [compiler.path, *compiling, str(source), *linking, "-o", temporary]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise BuildError(_refusal(source, compiler, done.stderr))
        os.chmod(temporary, 0o755)
        os.replace(temporary, target)
    except subprocess.TimeoutExpired:
        raise BuildError(f"{source}: {compiler.path} took more than 600 s") from None
    except OSError as error:
        raise BuildError(f"{target}: cannot be written: {error.strerror}") from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def _refusal(source: Path, compiler: Compiler, stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if "error" in line] or stderr.splitlines() or ["no message"]
    first = lines[0].replace(f"{ROOT}{os.sep}", "kernels/")
    return f"kernels/{source.relative_to(ROOT).as_posix()}: {compiler.version} refuses it: {first[:300]}"


def build_all(
    wanted: Sequence[Variant], *, sanitize: bool = False, workers: int | None = None
) -> dict[Variant, Path | BuildError]:
    """Builds several variants side by side; a compiler that refuses one loses that one only."""

    def attempt(variant: Variant) -> Path | BuildError:
        try:
            return build(variant, sanitize=sanitize)
        except BuildError as error:
            return error

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return dict(zip(wanted, pool.map(attempt, wanted), strict=True))
