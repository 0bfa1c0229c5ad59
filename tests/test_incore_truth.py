"""The in-core model against what is known of real cores: stored measurements, published throughputs, llvm-mca where trusted.

No timing and no llvm here: the data come from `make incore` and `python -m kernels incore --measure`."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kernels import incore, incore_measure
from kernels.build import BuildError
from kernels.incore_chain import dependency_cycles, flow_aarch64, flow_x86, waits_for_itself
from kernels.incore_errors import against_mca, against_stages, every_comparison, summary
from kernels.incore_items import ITEMS, Item, predicted_cycles
from kernels.incore_kinds import count_kinds, kinds_aarch64, kinds_x86
from kernels.incore_loops import all_loops, marked_loops
from kernels.incore_targets import TARGETS
from kernels.incore_trust import (
    AGREEMENT,
    THROUGHPUT_FILE,
    DataError,
    disagreements,
    known_cycles,
    throughputs,
    why_excluded,
)
from kernels.library import KernelError
from kernels.timing import rounds, usable_cpus
from simulator.specfile import available_machines, load_machine
from tests.test_kernels_cli import kernels

MEDIAN = 0.15


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """What `make incore` stored."""
    return incore.load_stored()


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """What `python -m kernels incore --measure` stored."""
    found = incore.load_measured()
    assert found is not None
    return found


def test_stored_data_are_well_formed(record: dict[str, Any], measured: dict[str, Any]) -> None:
    assert record["date"]
    assert "LLVM version 22" in record["tool"]
    assert {c["name"] for c in record["compilers"]} >= {"g++", "clang++-22"}
    assert len(record["sources_sha256"]) == 64
    names = {target.name: target for target in TARGETS}
    for loop in record["loops"]:
        assert (incore.ROOT / loop["source"]).is_file()
        assert loop["instructions"] >= 3
        for name, found in loop["targets"].items():
            assert loop["source"].split("/")[1].removesuffix(".cpp") in names[name].isas
            assert found["cycles"] > 0
            assert found["dependency_cycles"] <= 1.1 * found["cycles"] + 0.1
            assert found["port_cycles"] <= 1.05 * found["cycles"] + 0.1
    assert measured["clock_hertz"]["median"] > 1e9
    for item in measured["cycles_per_token"].values():
        assert 0 < item["minimum"] <= item["median"]
        assert item["median"] < 1.15 * item["minimum"]  # most placements came near the best one


def test_every_loop_that_an_item_stands_on_is_stored(record: dict[str, Any]) -> None:
    stored = {(loop["source"], loop["loop"], loop["compiler"]) for loop in record["loops"]}
    for item in ITEMS:
        assert {(source, mark, "g++") for source, mark, _ in item.loops} <= stored


def test_targets_and_published_machines_name_shipped_specs() -> None:
    shipped = set(available_machines())
    assert {target.spec for target in TARGETS} - {""} <= shipped
    assert {entry.spec for entry in throughputs().published} - {""} <= shipped


def test_verdicts_follow_from_the_stored_prices(record: dict[str, Any], measured: dict[str, Any]) -> None:
    again = copy.deepcopy(record)
    for loop in again["loops"]:
        for found in loop["targets"].values():
            del found["excluded"]
    assert incore.judged(again, throughputs(), measured) == record


KNOWN_ERRORS = [
    ("znver5", "six_fp32", "vfmadd231ps zmm: llvm-mca 1.00 cycles, measured 0.50"),
    ("znver5", "six_int8", "vpdpbusd zmm: llvm-mca 2.00 cycles, measured 0.50"),
    ("znver4", "six_int8", "vpdpbusd zmm: llvm-mca 2.00 cycles, measured 1.00"),
    ("znver4", "six_bf16", "vdpbf16ps zmm: llvm-mca 3.00 cycles, measured 1.00"),
    ("znver4", "six_fp32", "the whole stage was measured at"),
    ("icelake-server", "six_fp32", "vfmadd231ps zmm: llvm-mca 1.00 cycles, measured 0.50"),
    ("sapphirerapids", "six_fp32", "vfmadd231ps zmm: llvm-mca 1.00 cycles, measured 0.50"),
    ("sapphirerapids", "six_int8", "vpdpbusd zmm: llvm-mca 1.00 cycles, measured 0.50"),
]


@pytest.mark.parametrize(("target", "mark", "reason"), KNOWN_ERRORS)
def test_the_filter_finds_known_errors_by_itself(record: dict[str, Any], target: str, mark: str, reason: str) -> None:
    chosen = [loop["targets"][target] for loop in record["loops"] if loop["loop"] == mark and target in loop["targets"]]
    assert chosen
    for found in chosen:
        assert any(reason in text for text in found["excluded"])


def test_some_loops_are_trusted_and_none_without_a_measurement(
    record: dict[str, Any], measured: dict[str, Any]
) -> None:
    trusted: dict[str, set[str]] = {target.name: set() for target in TARGETS}
    for loop in record["loops"]:
        for name, found in loop["targets"].items():
            if not found["excluded"]:
                trusted[name].add(loop["loop"])
    assert "six_fp32" in trusted["skylake-avx512"]
    assert "six_int8" in trusted["icelake-server"]
    assert "block 6 21" in trusted["znver4"]
    for target in TARGETS:
        if not known_cycles(target.name, throughputs(), measured):
            assert not trusted[target.name]


def test_the_model_is_within_15_percent_of_measured_stages(measured: dict[str, Any]) -> None:
    found = against_stages(measured)
    assert len(found) >= 20
    assert summary(found)["median"] < MEDIAN
    wide = [c for c in found if c.what.endswith("zmm")]
    assert summary(wide)["worst"] < 0.35


def test_the_model_is_within_15_percent_of_all_that_is_trusted(
    record: dict[str, Any], measured: dict[str, Any]
) -> None:
    everything = every_comparison(record, throughputs(), measured)
    for against in ("stage", "instruction", "published", "llvm-mca"):
        chosen = [c for c in everything if c.against == against]
        assert len(chosen) >= 4
        assert summary(chosen)["median"] < MEDIAN
    assert max(abs(c.error) for c in everything if c.against == "published") < 0.05


def test_excluded_loops_are_never_compared_with(record: dict[str, Any]) -> None:
    spoiled = copy.deepcopy(record)
    for loop in spoiled["loops"]:
        for found in loop["targets"].values():
            found["excluded"].append("planted")
    assert against_mca(record)
    assert against_mca(spoiled) == []


def test_a_planted_wrong_price_excludes_the_loop(record: dict[str, Any]) -> None:
    wanted = ("bh4/avx512_vnni.cpp", "six_int8", "g++")
    (loop,) = (x for x in record["loops"] if (x["source"], x["loop"], x["compiler"]) == wanted)
    known = known_cycles("icelake-server", throughputs(), None)
    alone, static = record["alone"]["icelake-server"], record["static"]["icelake-server"]
    assert why_excluded(loop["kinds"], known, alone, static) == []
    for factor in (1.0 + 1.5 * AGREEMENT, 1.0 - 1.5 * AGREEMENT):
        wrong = {**alone, "vpdpbusd zmm": alone["vpdpbusd zmm"] * factor}
        assert why_excluded(loop["kinds"], known, wrong, static)
        assert "vpdpbusd zmm" in disagreements(known, wrong)
    assert why_excluded(loop["kinds"], {}, alone, static)  # nothing measured, nothing trusted


@pytest.mark.parametrize(("old", "new", "message"), [
    ("vpdpbusd zmm: 0.49", "vpdpbusd zmm: 0.0049", "no throughput of an instruction: 0.0049 cycles"),
    ("vpdpbusd zmm: 0.49", "vpdpbusd zmm: fast", "no throughput of an instruction: 'fast' cycles"),
    ("vpdpbusd zmm: 0.49", "vpdpbuse zmm: 0.49", "'vpdpbuse zmm' has no line under instructions"),
    ("targets: [znver5]", "goals: [znver5]", "'targets'"),
])  # fmt: skip
def test_a_planted_wrong_throughput_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = THROUGHPUT_FILE.read_text()
    assert old in text
    file = tmp_path / "throughput.yaml"
    file.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        throughputs(file)


def test_published_numbers_carry_their_source() -> None:
    for entry in yaml.safe_load(THROUGHPUT_FILE.read_text())["machines"]:
        assert len(entry["source"]) > 20
        assert entry["targets"]


def test_a_slower_spec_is_seen(measured: dict[str, Any]) -> None:
    """The comparison must notice a machine that multiplies at half the rate."""
    slow = load_machine("amd-epyc-9654", {"core.vector.fma_per_cycle": 0.5})
    item = next(item for item in ITEMS if item.name == "block_product fp32 zmm")
    assert predicted_cycles(item, slow) > 1.8 * measured["cycles_per_token"][item.name]["median"]


X86 = """
.L2:
\tvmovups (%rax), %zmm1
.L3:
# LOOKUPSIM-LOOP inner 4
\tvfmadd231ps 64(%rax), %zmm1, %zmm2   # a comment
\tvmovdqu8 (%rbx), %zmm4{%k2}
\tprefetcht0 512(%rax)
\taddq $64, %rax
\tcmpq %rax, %rbx
\tjne .L3
\tjmp .L2
"""
ARM = """
.L7:
// LOOKUPSIM-LOOP dot
#APP
\tldr q1, [x0], 16
\tfmla v0.4s, v1.4s, v2.4s
\tsubs x3, x3, #1
\tbne .L7
"""


def test_the_innermost_loop_around_a_mark_is_taken() -> None:
    loop = marked_loops(X86, "x86_64")["inner 4"]
    assert loop.body[0] == "vfmadd231ps 64(%rax), %zmm1, %zmm2"
    assert loop.body[-1] == "jne .L3"
    assert len(loop.body) == 6
    assert len(all_loops(X86, "x86_64")) == 2
    assert count_kinds(loop.body, "x86_64") == {"vfmadd231ps zmm": 1, "load zmm": 2, "vpblendmb zmm": 1}
    assert marked_loops(ARM, "aarch64")["dot"].body == (
        "ldr q1, [x0], 16", "fmla v0.4s, v1.4s, v2.4s", "subs x3, x3, #1", "bne .L7",
    )  # fmt: skip
    assert marked_loops("# LOOKUPSIM-LOOP nowhere\n\taddq $1, %rax\n", "x86_64") == {}


@pytest.mark.parametrize(("text", "kinds"), [
    ("vfnmadd213ps %ymm1, %ymm2, %ymm3", ("vfmadd231ps ymm",)),
    ("vbroadcastss (%rax,%rbx,4), %zmm3", ("broadcast zmm",)),
    ("vmovups %zmm1, 64(%rax)", ("store zmm",)),
    ("vmovaps %zmm1, %zmm2", ()),
    ("addq $4, %rax", ()),
    ("tdpbf16ps %tmm0, %tmm1, %tmm2", ("tdpbf16ps tmm",)),
])  # fmt: skip
def test_kinds_of_instructions(text: str, kinds: tuple[str, ...]) -> None:
    assert kinds_x86(text) == kinds


def test_kinds_on_arm() -> None:
    assert kinds_aarch64("fmla v0.4s, v1.4s, v2.4s") == ("fmla 128",)
    assert kinds_aarch64("ldp q0, q1, [x0]") == ("load 128", "load 128")
    assert kinds_aarch64("add x0, x0, 1") == ()


def test_dependency_bound_is_the_loop_carried_chain() -> None:
    body = (
        "vmovups (%rax), %zmm1",
        "vfmadd231ps %zmm1, %zmm3, %zmm2",
        "vfmadd231ps %zmm1, %zmm3, %zmm2",
        "addq $64, %rax",
    )
    assert dependency_cycles(body, (7, 4, 4, 1), "x86_64") == pytest.approx(8)
    free = ("vmovups (%rax), %zmm1", "vmulps %zmm1, %zmm3, %zmm2", "addq $64, %rax")
    assert dependency_cycles(free, (7, 4, 1), "x86_64") == pytest.approx(1)
    arm = ("ldr q1, [x0], 16", "fmla v0.4s, v1.4s, v2.4s")
    assert dependency_cycles(arm, (1, 4), "aarch64") == pytest.approx(4)
    assert waits_for_itself("fmadd s0, s2, s1, s0", "aarch64")
    assert not waits_for_itself("vmulps %zmm1, %zmm3, %zmm2", "x86_64")
    assert flow_x86("vpxord %zmm1, %zmm1, %zmm1") == ([], ["v1"])
    assert flow_x86("vpblendmb %zmm30, %zmm1, %zmm1{%k1}{z}")[1] == ["v1"]
    assert flow_aarch64("str q0, [x1], 16") == (["v0", "x1"], ["x1"])


def test_without_llvm_mca_the_message_says_what_to_install(tmp_path: Path) -> None:
    done = kernels("incore", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "install llvm-22" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_stored_record_of_another_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "incore.json"
    file.write_text(json.dumps({"format_version": 99}))
    with pytest.raises(DataError, match="format_version must be 1, got 99"):
        incore.load_stored(file)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_every_stage_can_be_called_by_itself(item: Item) -> None:
    build = {"block_product": incore_measure._block, "tail": incore_measure._tail}.get(
        item.stage, incore_measure._stage
    )
    try:
        probe, task, kept = build(item, np.random.default_rng(7))
    except (BuildError, KernelError) as error:
        pytest.skip(str(error))
    seconds, done = rounds(probe, [task], usable_cpus()[:1], 1)
    assert seconds[0] > 0
    assert done[0] == task.times * task.tokens
    del kept
