"""`python -m kernels`: every operator runs and is right, variants are listed, missing compilers and bad options are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernels.build import Variant, build, compiled_path, find_compiler, flags_of, variants
from kernels.isa import ISAS, why_not
from tests.test_lookup_kernels import needs_kernels


def kernels(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m kernels ARGUMENTS`."""
    command = [sys.executable, "-m", "kernels", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})


@needs_kernels
@pytest.mark.parametrize(
    ("arguments", "tolerance"),
    [
        (("layer_norm", "--hidden", "500"), 1e-5),
        (("bh4", "--dtype", "fp32", "--batch", "7"), 1e-5),
        (("dense", "--dtype", "bf16", "--batch", "7", "--hidden", "300", "--tables", "9"), 1e-2),
        (("lookup_ffn", "--dense", "--batch", "9", "--hidden", "96", "--tables", "9", "--dtype", "int8"), 1.5e-2),
        (("code_score", "--batch", "3"), 1e-5),
        (
            (
                "gather",
                "--batch",
                "100",
                "--tables",
                "96",
                "--rows",
                "512",
                "--dim",
                "768",
                "--dtype",
                "int8",
                "--variant",
                "v3",
            ),
            1.5e-2,
        ),
        (("lookup_ffn", "--batch", "20", "--tables", "9", "--threads", "2", "--variant", "v2"), 1e-5),
    ],
)
def test_operators_run_from_the_command_line(arguments: tuple[str, ...], tolerance: float, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    done = kernels("run", *arguments, "--json", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    (record,) = json.loads(file.read_text())["records"]
    assert 0 <= record["relative_error"] <= tolerance
    assert 0 < record["seconds_min"] <= record["seconds_median"]
    assert record["microseconds_per_token"] == pytest.approx(record["seconds_median"] / record["batch"] * 1e6)


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "rows": (("run", "gather", "--rows", "100"), "gather: rows must be a power of two, got 100"),
    "instruction set": (
        ("run", "bh4", "--isa", "sse2"),
        "bh4: there is no instruction set 'sse2'; there are scalar, avx2",
    ),
    "threads of a stage": (("run", "bh4", "--threads", "2"), "bh4: only lookup_ffn runs on several threads"),
    "operator": (("run", "conv"), "'conv' is not one of"),
    "two projections": (("run", "bh4", "--dense"), "bh4: --dense is for other operators"),
    "batch": (("run", "bh4", "--batch", "0"), "0 is not in the range"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_one_message(name: str) -> None:
    arguments, message = BAD[name]
    done = kernels(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_compiler_the_message_says_what_to_install(tmp_path: Path) -> None:
    done = kernels("build", CXX="", PATH=str(tmp_path), LOOKUPSIM_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert "install g++" in done.stderr
    assert "Traceback" not in done.stderr
    done = kernels("run", "bh4", CXX="no-such-compiler", LOOKUPSIM_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert "$CXX is 'no-such-compiler', which is not there" in done.stderr


def test_listing_tells_what_runs_here_and_why_not() -> None:
    done = kernels("list")
    assert done.returncode == 0
    for variant in variants():
        assert variant.operator in done.stdout
    impossible = next(isa for isa in ISAS.values() if why_not(isa))
    assert why_not(impossible)


@needs_kernels
def test_a_compiled_file_appears_whole_and_is_named_by_what_went_into_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LOOKUPSIM_CACHE", str(tmp_path / "cache"))
    variant = Variant("code_score", "scalar")
    compiler, flags = find_compiler(), flags_of(variant)
    target = compiled_path(variant, compiler, flags)
    assert compiled_path(variant, compiler, (*flags, "-O1")) != target
    assert compiled_path(Variant("layer_norm", "scalar"), compiler, flags) != target
    processes = [
        subprocess.Popen([sys.executable, "-c", "from kernels.build import *; print(build(Variant('code_score', 'scalar')))"],
                         stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]  # fmt: skip
    assert {process.communicate(timeout=200)[0].strip() for process in processes} == {str(target)}
    assert [path.name for path in target.parent.iterdir()] == [target.name]  # nothing half-made is left
    before = target.stat().st_mtime_ns
    assert build(variant) == target
    assert target.stat().st_mtime_ns == before


@needs_kernels
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = kernels("run", "bh4", "--batch", "1", LOOKUPSIM_CACHE=str(tmp_path / "file" / "below"))
    assert done.returncode == 1
    assert "compiled kernels cannot be kept here" in done.stderr
    assert "Traceback" not in done.stderr
