"""The AMX kernels without AMX: the same sources on emulated tiles against the float64 oracle and against the vector kernels, what
the emulation refuses, and what instructions the compiled files hold."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels import library
from kernels.build import ROOT, BuildError, Variant, build, find_compiler
from kernels.isa import EMULATED_TILES, ISAS, why_not
from kernels.library import I64, KernelError, function, load, runnable
from kernels.lookup import LookupFfn, Plan
from kernels.timing import PeakTask
from kernels.weights import LookupWeights, random_weights
from tests import oracle
from tests.emulated import DTYPES, on_emulated_tiles
from tests.test_lookup_kernels import Z_TOLERANCE, hold_to_the_oracle, inputs, make, missing

TABLE = {"bf16": "bf16", "int8": "int8"}
FEWEST = 6
"""MIN_TILE_TOKENS of include/block_tiles.hpp: below it the vectors do the work."""

BLOCKS = {
    "published": {"hidden": 512, "columns": 64, "tables": 128, "rows": 256},
    "blocks of 16": {"hidden": 96, "columns": 100, "tables": 120, "rows": 2, "block": 16},
    "blocks of 32": {"hidden": 500, "columns": 50, "tables": 33, "rows": 32, "block": 32},
    "blocks of 128": {"hidden": 768, "columns": 64, "tables": 48, "rows": 256, "block": 128},
    "one block": {"hidden": 64, "columns": 64, "tables": 9, "rows": 256, "block": 64},
}
DENSE = {
    "published": {"hidden": 512, "columns": 64, "tables": 128, "rows": 256},
    "d of one and a half panels": {"hidden": 96, "columns": 100, "tables": 120, "rows": 2},
    "d odd": {"hidden": 33, "columns": 70, "tables": 37, "rows": 8},
    "one input": {"hidden": 1, "columns": 5, "tables": 3, "rows": 4},
}
LAYERS: dict[str, dict[str, Any]] = {
    **{f"bh4, {name}": {**shape, "projection": "bh4"} for name, shape in BLOCKS.items()},
    **{f"dense, {name}": {**shape, "projection": "dense"} for name, shape in DENSE.items()},
}


def unable() -> str:
    """Why the kernels cannot run on emulated tiles here, or ''."""
    return missing() or why_not(EMULATED_TILES)


needs_emulation = pytest.mark.skipif(bool(unable()), reason=unable() or "-")
needs_x86 = pytest.mark.skipif(
    bool(missing()) or find_compiler().target != "x86_64", reason=missing() or "the compiler is not for x86_64"
)
needs_objdump = pytest.mark.skipif(shutil.which("objdump") is None, reason="no objdump: install binutils")


def both(weights: LookupWeights, dtype: str, **options: Any) -> tuple[LookupFfn, LookupFfn]:
    """The layer on emulated tiles, and on the vectors of this host."""
    vectors = make(weights, dtype, TABLE[dtype], isa="avx512_bf16", **options)
    return on_emulated_tiles(make(weights, dtype, TABLE[dtype], **options)), vectors


@needs_emulation
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_stage_against_the_oracle(layer: str, dtype: str) -> None:
    tiles, _ = both(random_weights(**LAYERS[layer]), dtype)
    hold_to_the_oracle(tiles, (1, FEWEST, 65))


@needs_emulation
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, FEWEST - 1, FEWEST, 15, 16, 17, 31, 32, 33, 48, 50])
def test_tiles_and_vectors_agree_for_any_number_of_tokens(layer: str, dtype: str, batch: int) -> None:
    weights = random_weights(**LAYERS[layer])
    tiles, vectors = both(weights, dtype)
    x = inputs(batch, weights.hidden)
    found, expected = tiles.project(x), vectors.project(x)
    if dtype == "int8" or batch < FEWEST:
        assert (found == expected).all()
    else:  # sums in another order, and what is rounded to bf16 after each stage may fall to the other side
        largest = np.abs(expected).max(axis=1, keepdims=True)
        assert (np.abs(found - expected) <= Z_TOLERANCE["bf16"] * largest).all()


@needs_emulation
@pytest.mark.parametrize("form", ["bh4", "dense"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_is_the_same_in_every_tile(form: str, dtype: str) -> None:
    """Whichever row of whichever tile a token lands in, and whoever stands beside it."""
    weights = random_weights(128, 16, 24, 16, projection=form)
    tiles, _ = both(weights, dtype)
    x = inputs(33, 128)
    first = tiles.project(x)
    for begin, end in ((0, FEWEST), (0, 16), (1, 33), (20, 33), (3, 20)):
        assert (tiles.project(x[begin:end]) == first[begin:end]).all()


@needs_emulation
@pytest.mark.parametrize("form", ["bh4", "dense"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_leave_every_bit_and_tokens_that_are_not_finite_stay_alone(form: str, dtype: str) -> None:
    weights = random_weights(128, 192, 24, 16, projection=form)
    x = inputs(301, 128)
    first = both(weights, dtype)[0](x)
    for threads in (2, 3):
        assert (both(weights, dtype, threads=threads)[0](x) == first).all()
    ffn, _ = both(weights, dtype)
    assert (ffn(x, plan=Plan(48, 96, 24, 1)) == first).all()
    x[4, 7], x[40, 0], x[300, 127] = np.nan, np.inf, -np.inf
    spoiled = ffn(x)
    bad = [4, 40, 300]
    assert np.isnan(spoiled[bad]).all()
    assert (np.delete(spoiled, bad, axis=0) == np.delete(first, bad, axis=0)).all()


@needs_emulation
@pytest.mark.parametrize("hidden", [64, 4096])
def test_no_int8_sum_of_products_leaves_32_bits(hidden: int) -> None:
    from tests.test_dense_kernels import layer

    sign = np.where(np.random.default_rng(0).random(hidden) < 0.5, -1.0, 1.0).astype(np.float32)
    weights = layer(np.stack([sign, -sign] * 32))
    x = sign[None] * np.linspace(0.5, 2.0, 9, dtype=np.float32)[:, None]
    exact = oracle.project(oracle.layer_norm(x, weights), weights)
    np.testing.assert_allclose(both(weights, "int8")[0].project(x), exact, rtol=Z_TOLERANCE["int8"])


@pytest.mark.skipif(bool(why_not(ISAS["amx"])), reason=f"tiles: {why_not(ISAS['amx']) or '-'}")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_real_tiles_do_what_emulated_ones_do(layer: str, dtype: str) -> None:
    """Bit by bit: this is the test of the emulation, on CPUs that have tiles."""
    weights = random_weights(**LAYERS[layer])
    tiles, real = both(weights, dtype)[0], make(weights, dtype, TABLE[dtype], isa="amx")
    for batch in (1, FEWEST, 50):
        x = inputs(batch, weights.hidden)
        assert (real.project(x) == tiles.project(x)).all()


REFUSED = {
    "palette": "#GP: ldtilecfg: the palette is not 1",
    "start": "#GP: ldtilecfg: the start row is not 0",
    "reserved": "#GP: ldtilecfg: a reserved byte is not 0",
    "ninth tile": "#GP: ldtilecfg: there is no such tile",
    "17 rows": "#GP: ldtilecfg: a tile is too large",
    "68 bytes": "#GP: ldtilecfg: a tile is too large",
    "rows only": "#GP: ldtilecfg: a tile has rows or bytes only",
    "odd bytes": "#UD: tdpbusd: a row is no number of dwords",
    "rows differ": "#UD: tdpbusd: sum and A differ in rows",
    "columns differ": "#UD: tdpbusd: sum and B differ in the bytes of a row",
    "depth differs": "#UD: tdpbusd: A has another number of dwords than B has rows",
    "no configuration": "#UD: tilezero: tiles are not configured",
    "released": "#UD: tilezero: tiles are not configured",
    "no such rows": "#UD: tilezero: the tile has no rows",
    "named twice": "#UD: tdpbusd: a tile is named twice",
    "empty tile": "not initialised: tdpbusd: nothing was put into the tile",
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that misuses tiles; it needs no vectors."""
    if reason := missing():
        pytest.skip(reason)
    program = tmp_path_factory.mktemp("tiles") / "tile_faults"
    source = Path(__file__).parent / "tile_faults.cpp"
    flags = ("-std=c++20", "-O1", "-DLOOKUPSIM_EMULATE_TILES", f"-I{ROOT / 'include'}")
    subprocess.run([find_compiler().path, *flags, str(source), "-o", str(program)], check=True, timeout=60)
    return program


@pytest.mark.parametrize("case", REFUSED)
def test_the_emulation_refuses_what_the_hardware_refuses(faults: Path, case: str) -> None:
    done = subprocess.run([faults, case], capture_output=True, text=True, timeout=20)
    assert done.returncode < 0
    assert done.stderr == f"emulated tiles: {REFUSED[case]}\n"


def test_the_emulation_lets_a_right_product_pass(faults: Path) -> None:
    done = subprocess.run([faults, "none"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@needs_emulation
@pytest.mark.parametrize("symbol", ["bf16", "int8", "bf16_chain", "int8_chain", "load", "store"])
def test_peak_probes_use_tiles_as_they_may(symbol: str) -> None:
    probe = getattr(load(Variant("peak", "amx", emulated=True)), f"peak_tile_{symbol}")
    probe.restype = I64
    assert probe(ctypes.byref(PeakTask(3))) == 18


def test_emulated_tiles_are_never_chosen() -> None:
    assert EMULATED_TILES.name not in ISAS
    for operator in ("bh4", "dense", "peak"):
        assert not any(v.emulated for v in runnable(operator))


def test_without_tiles_the_reason_is_given() -> None:
    if not why_not(ISAS["amx"]):
        pytest.skip("this CPU has tiles")
    with pytest.raises(KernelError, match="peak_tile_bf16"):
        function("peak", "peak_tile_bf16")
    if library.machine() == "x86_64":
        with pytest.raises(
            KernelError, match=r"amx is not run: (this CPU lacks .*amx_bf16|the kernel does not permit)"
        ):
            function("peak", "peak_tile_bf16")


def instructions(path: Path) -> list[str]:
    """The tile instructions of a compiled file, as objdump writes them."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(path)], capture_output=True, text=True, check=True
    )
    return re.findall(r"\t((?:tdp|tile|ldtilecfg|sttilecfg)\S*(?: +\S+)?)", text.stdout)


def products(found: list[str], mnemonic: str) -> set[tuple[int, ...]]:
    """(sum, A, B) of every product; objdump names B first."""
    named = [re.findall(r"%tmm(\d)", line) for line in found if line.split()[0] == mnemonic]
    return {tuple(int(n) for n in reversed(tiles)) for tiles in named}


@needs_x86
@needs_objdump
@pytest.mark.parametrize("operator", ["bh4", "dense", "peak"])
def test_the_compiled_kernels_hold_tile_instructions(operator: str) -> None:
    found = instructions(build_or_skip(Variant(operator, "amx")))
    mnemonics = [line.split()[0] for line in found]
    for wanted in ("tdpbf16ps", "tdpbusd", "tileloadd", "tilestored", "tilezero", "ldtilecfg", "tilerelease"):
        assert wanted in mnemonics
    assert mnemonics.count("ldtilecfg") == mnemonics.count("tilerelease")
    if operator != "peak":
        for mnemonic in ("tdpbf16ps", "tdpbusd"):
            two_by_two = {(0, 4, 6), (2, 5, 6), (1, 4, 7), (3, 5, 7)}
            one_by_four = {(0, 4, 6), (1, 4, 7), (2, 4, 6), (3, 4, 7)}
            assert two_by_two | one_by_four <= products(found, mnemonic)


@needs_x86
@needs_objdump
def test_the_order_of_operands_is_that_of_the_compilers_own_intrinsics(tmp_path: Path) -> None:
    """Sums, unsigned A, signed B: emulation cannot tell whether the assembler names them in this order."""
    source = tmp_path / "intrinsics.cpp"
    source.write_text("#include <immintrin.h>\nvoid f() { _tile_dpbusd(0, 4, 6); _tile_dpbf16ps(3, 5, 7); }\n")
    flags = ("-mamx-tile", "-mamx-int8", "-mamx-bf16", "-c")
    compiled = tmp_path / "intrinsics.o"
    done = subprocess.run([find_compiler().path, *flags, str(source), "-o", str(compiled)], capture_output=True)
    if done.returncode:
        pytest.skip("the compiler has no AMX")
    ours = instructions(build_or_skip(Variant("bh4", "amx")))
    theirs = instructions(compiled)
    assert products(theirs, "tdpbusd") == {(0, 4, 6)}
    assert products(theirs, "tdpbf16ps") == {(3, 5, 7)}
    assert set(theirs) <= set(ours)


@needs_x86
@needs_objdump
@needs_emulation
def test_emulated_kernels_hold_none() -> None:
    assert instructions(build(Variant("bh4", "amx", emulated=True))) == []


def build_or_skip(variant: Variant) -> Path:
    """The compiled variant, or a skip where the compiler has no flag for tiles."""
    try:
        return build(variant)
    except BuildError as error:
        pytest.skip(str(error))
