"""`make sanitize`: the compiled kernels under the address and undefined-behaviour sanitizers, on fuzzed shapes and inputs.

The process starts itself anew with the sanitizers' runtime preloaded, so that NumPy's memory is watched too.
"""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

CASES = 160
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2, "int8": 3e-2}


def runtimes(compiler: str) -> list[str]:
    """The shared libraries that must be loaded first."""
    found = []
    for name in ("libasan.so", "libubsan.so"):
        path = subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if not Path(path).is_file():
            raise SystemExit(
                f"make sanitize: {compiler} has no {name}: install its sanitizer runtime (libgcc-12-dev or similar)"
            )
        found.append(path)
    return found


def restart() -> None:
    """Replaces this process by one with the runtime preloaded."""
    from kernels.build import BuildError, find_compiler
    from kernels.library import SANITIZE_VARIABLE

    try:
        compiler = find_compiler().path
    except BuildError as error:
        raise SystemExit(f"make sanitize: {error}") from None
    environment = {
        **os.environ,
        SANITIZE_VARIABLE: "1",
        "LD_PRELOAD": ":".join(runtimes(compiler)),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    os.execve(sys.executable, [sys.executable, "-m", "tests.sanitize"], environment)


def case(draw: random.Random) -> None:
    """One random layer, input and plan, fast and scalar kernels alike; raises on a wrong result."""
    from kernels.exact import gather_exact
    from kernels.isa import EMULATED_TILES, why_not
    from kernels.lookup import LookupFfn, Plan
    from kernels.published import PublishedFfn
    from kernels.weights import random_weights
    from tests import emulated

    form = draw.choice(["bh4", "bh4", "dense"])
    hidden = draw.choice([16, 17, 31, 64, 100, 128, 200, 300] if form == "bh4" else [1, 2, 15, 33, 64, 100, 200, 700])
    padded = 1 << (hidden - 1).bit_length()
    shape: dict[str, Any] = {
        "hidden": hidden,
        "columns": draw.randint(1, 200),
        "tables": draw.randint(1, 40),
        "rows": 1 << draw.randint(1, 9),
        "projection": form,
        "block": draw.choice([b for b in (16, 32, 64, 128) if b <= padded] or [padded]),
        "stages": draw.randint(1, 4),
        "seed": draw.randint(0, 9),
    }
    weights = random_weights(**shape)
    projection, table = draw.choice([("fp32", "fp32"), ("bf16", "bf16"), ("int16", "int8"), ("int8", "int8")])
    isa = draw.choice(["scalar", "avx2", None])
    scales = draw.choice(["table", "row", draw.choice([2, shape["rows"]])]) if table == "int8" else "table"
    threads = draw.randint(1, 4)
    ffn = LookupFfn(weights, projection=projection, table=table, isa=isa, threads=threads,  # type: ignore[arg-type]
                    stripe=64 * draw.randint(1, 5), table_scales=scales)  # fmt: skip
    if isa is None and projection in emulated.DTYPES and not why_not(EMULATED_TILES) and draw.random() < 0.7:
        isa, ffn = "emulated tiles", emulated.on_emulated_tiles(ffn)
    batch = draw.randint(1, 130)
    backing = np.random.default_rng(1).standard_normal((batch, hidden + 3)).astype(np.float32)
    x = backing[:, 1 : hidden + 1]  # rows off any boundary
    plan = Plan(draw.randint(1, 60), draw.randint(1, 200), draw.randint(1, 50), draw.randint(0, 5), draw.randrange(3),
                draw.randrange(3))  # fmt: skip
    y = ffn(x, plan=plan)
    codes, scores = ffn.codes_and_scores(ffn.project(x))
    exact = gather_exact(codes, scores, weights)
    # the same kernel for a token in `project` and in the call: sixes of vectors, and fewer than six tokens not on tiles
    alike = plan.project_tile % 6 == 0 and not (projection == "bf16" and 0 < batch % plan.project_tile < 6)
    if alike and not np.abs(y - exact).max() <= TOLERANCE[table] * np.abs(exact).max():
        raise AssertionError(f"{shape} {projection}/{table} {isa} {plan}: off by {np.abs(y - exact).max():.2e}")
    alone = ffn.gather(codes, scores, plan)
    if not np.abs(alone - exact).max() <= TOLERANCE[table] * np.abs(exact).max():
        raise AssertionError(f"gather alone, {shape} {table} {scales} {isa} {threads} {plan}")
    spoil(ffn, weights, x, plan, draw)
    if form == "bh4" and shape["block"] == 64:
        published = PublishedFfn.from_weights(weights, threads=threads, isa=draw.choice(["avx2", None]))(x)
        if projection == "fp32" and not np.abs(published - exact).max() <= 1e-4 * np.abs(exact).max():
            raise AssertionError(f"published loops, {shape} {threads}: off by {np.abs(published - exact).max():.2e}")


def spoil(ffn: Any, weights: Any, x: Any, plan: Any, draw: random.Random) -> None:
    """Inputs that are not finite, and an index out of range given straight to the kernel, which must refuse it unread."""
    bad = x.copy()
    bad[draw.randrange(len(bad)), draw.randrange(weights.hidden)] = draw.choice([np.nan, np.inf, -np.inf, 3e38])
    ffn(bad)
    width = ffn._tables.tables
    codes = np.zeros((len(x), width), dtype=np.uint16)
    codes[-1, draw.randrange(width)] = draw.choice([weights.rows, 65535])
    call, _ = ffn.gather_call(codes, np.ones((len(x), width), dtype=np.float32), plan)
    if call() < 0:
        raise AssertionError("an index out of range was accepted")


def main() -> None:
    """Runs the cases and says how many passed."""
    from kernels.library import SANITIZE_VARIABLE

    if os.environ.get(SANITIZE_VARIABLE) != "1":
        restart()
    if not hasattr(ctypes.CDLL(None), "__asan_init"):
        raise SystemExit("make sanitize: the sanitizers' runtime is not loaded")
    for seed in range(CASES):
        case(random.Random(seed))
    print(f"sanitized kernels: {CASES} passed, 0 failed")


if __name__ == "__main__":
    main()
