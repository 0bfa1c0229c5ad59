"""Spec files: inheritance, provenance, overrides, round trips; the shipped machines against literal figures."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.machine import Duration, Machine, Provenance, interpolate_log
from simulator.specdump import differences, dump_machine, values
from simulator.specfile import (
    SPEC_FOLDER,
    available_machines,
    check_file,
    load_machine,
    load_machine_text,
    machine_files,
    read_spec,
)
from simulator.specset import LATENCY_SIZE_EXPONENT
from simulator.yamlfile import SpecFileError, load
from tests.broken import VALID
from tests.strategies import machines

SHIPPED = sorted(available_machines())


@settings(max_examples=150, deadline=None)
@given(machines())
def test_load_of_dump_is_the_machine(cpu: Machine) -> None:
    again = load_machine_text(dump_machine(cpu), f"{cpu.id}.yaml")
    assert again == cpu
    known = {path: cpu.provenance[path] for path in again.provenance}
    assert again.provenance == known
    assert dump_machine(again) == dump_machine(load_machine_text(dump_machine(again), f"{cpu.id}.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_machines_load_without_warnings_and_every_value_has_a_source(name: str) -> None:
    reading = check_file(machine_files()[name])
    assert reading.faults == ()
    assert reading.machine is not None
    unsourced = [v.path for v in values(reading.machine) if v.provenance is None and not v.path.endswith(TEXTS)]
    assert {path for path in unsourced if path.split(".")[-1] not in IMPLIED} == set()
    assert load_machine_text(dump_machine(reading.machine), f"{name}.yaml") == reading.machine


TEXTS = ("kind", "inclusion", "isa", "name", "vendor", "microarchitecture", "status", "notes")
IMPLIED = {
    "sockets", "threads_per_core", "line", "cores_per_instance", "available_fraction", "channel_width",
    "write_share_penalty", "fma_latency", "dot_latency", "exp_per_vector", "registers", "dot_bf16_per_cycle",
    "dot_int16_per_cycle", "dot_int8_per_cycle",
}  # fmt: skip
"""Schema defaults that need no source: 64-byte lines, private caches, 8-byte channels, 'no such instruction'."""


def test_the_seven_servers_one_hypothetical_and_no_abstract_base_are_listed() -> None:
    assert SHIPPED == [
        "amd-epyc-7763",
        "amd-epyc-9354p",
        "amd-epyc-9654",
        "amd-epyc-9755",
        "aws-graviton4",
        "intel-xeon-platinum-8380",
        "intel-xeon-platinum-8480plus",
        "l2-rich-zen5",
    ]


@pytest.mark.parametrize(
    ("name", "cores", "fp32_flop_per_cycle", "l3_mib_per_socket", "peak_gb_per_second"),
    [
        ("intel-xeon-platinum-8380", 40, 64, 60, 204.8),
        ("intel-xeon-platinum-8480plus", 56, 64, 105, 307.2),
        ("amd-epyc-7763", 64, 32, 256, 204.8),
        ("amd-epyc-9654", 96, 32, 384, 460.8),
        ("amd-epyc-9755", 128, 64, 512, 576.0),
        ("aws-graviton4", 96, 32, 36, 537.6),
    ],
)
def test_shipped_machines_have_their_published_figures(
    name: str, cores: int, fp32_flop_per_cycle: int, l3_mib_per_socket: int, peak_gb_per_second: float
) -> None:
    cpu = load_machine(name)
    assert cpu.cores_per_socket == cores
    assert cpu.core.vector.width_bits / 32 * cpu.core.vector.fma_per_cycle * 2 == fp32_flop_per_cycle
    l3 = cpu.caches.L3
    assert l3 is not None
    assert l3.size_bytes * cores / l3.cores_per_instance == l3_mib_per_socket * 2**20
    assert cpu.memory.bandwidth_bytes_per_second == pytest.approx(peak_gb_per_second * 1e9)


def test_amx_does_1024_bf16_flop_and_2048_int8_operations_a_cycle() -> None:
    unit = load_machine("intel-xeon-platinum-8480plus").core.matrix
    assert unit is not None
    products = unit.tile_rows * unit.tile_columns * unit.tile_row_bytes / unit.cycles_per_operation
    assert 2 * products / 2 == 1024
    assert 2 * products / 1 == 2048


def test_a_variant_states_only_what_differs_and_keeps_the_provenance_of_the_rest() -> None:
    base, variant = load_machine("amd-epyc-9755"), load_machine("l2-rich-zen5")
    assert {row.path.rsplit(".", 1)[0] for row in differences(base, variant)} <= {
        "caches.L2",
        "name",
        "status",
        "year",
        "notes",
    }
    assert variant.provenance["caches.L3.size"] == base.provenance["caches.L3.size"]
    assert variant.provenance["caches.L2.size"] == Provenance("estimated", "hypothetical", 0.0)


def test_provenance_is_inherited_by_section_and_overridden_by_value() -> None:
    text = VALID.replace(
        "size: 48 KiB", "size: {value: 48 KiB, provenance: measured, source: probe, interval: 3 %, note: why}"
    )
    cpu = load_machine_text(text.replace("  L2:\n", "  L2:\n    provenance: announced\n    source: talk\n"))
    assert cpu.provenance["caches.L1.size"] == Provenance("measured", "probe", 0.03, "why")
    assert cpu.provenance["caches.L2.size"] == Provenance("announced", "talk", 0.15)
    assert cpu.provenance["caches.L3.size"] == Provenance("datasheet", "a data sheet", 0.02)
    assert cpu.provenance["software.kernel_efficiency"].kind == "estimated"


def test_durations_and_rates_have_a_cycle_part_and_a_time_part() -> None:
    cpu = load_machine_text(
        VALID.replace("latency: 20 ns", "latency: 10 cycles + 20 ns").replace("30 GB/s", "1 B/cycle + 30 GB/s")
    )
    assert cpu.caches.L3 is not None
    assert cpu.caches.L3.latency == Duration(10.0, 20e-9)
    assert cpu.caches.L3.bandwidth.at(4e9) == pytest.approx(34e9)


def test_setting_a_cache_size_moves_its_latency_by_the_stated_rule_and_says_so() -> None:
    base = load_machine_text(VALID)
    grown = load_machine_text(VALID, overrides={"caches.L2.size": "4MiB"})
    assert grown.caches.L2.size_bytes == 4 * 2**20
    assert grown.caches.L2.sets == 4096
    assert grown.caches.L2.latency.cycles == pytest.approx(16 * 2**LATENCY_SIZE_EXPONENT, rel=1e-3)
    assert "caches.L2.latency follows the size" in grown.notes
    kept = load_machine_text(VALID, overrides={"caches.L2.size": "4MiB"}, scale_latency=False)
    assert kept.caches.L2.latency == base.caches.L2.latency
    both = load_machine_text(VALID, overrides={"caches.L2.size": "4MiB", "caches.L2.latency": "20 cycles"})
    assert both.caches.L2.latency.cycles == 20
    assert grown.provenance["caches.L2.size"] == Provenance("estimated", "set: caches.L2.size", 0.0)


def test_setting_memory_bandwidth_keeps_the_memory_consistent() -> None:
    cpu = load_machine_text(VALID, overrides={"memory.bandwidth": "614.4 GB/s"})
    assert cpu.memory.transfers_per_second == pytest.approx(9.6e9)
    assert cpu.memory.read_bandwidth_bytes_per_second == pytest.approx(500e9)
    more = load_machine_text(VALID, overrides={"memory.channels": "16"})
    assert more.memory.bandwidth_bytes_per_second == pytest.approx(614.4e9)


@pytest.mark.parametrize(
    ("settings", "peak", "read", "transfers"),
    [
        ({"memory.channels": "16", "memory.bandwidth": "614.4 GB/s"}, 614.4e9, 500e9, 4.8e9),
        ({"memory.bandwidth": "614.4 GB/s", "memory.transfer_rate": "9600 MT/s"}, 614.4e9, 500e9, 9.6e9),
        ({"memory.channels": "4", "memory.transfer_rate": "9600 MT/s"}, 307.2e9, 250e9, 9.6e9),
        ({"memory.channel_width": "16 B"}, 614.4e9, 500e9, 4.8e9),
        ({"memory.bandwidth": "614.4 GB/s", "memory.read_bandwidth": "300 GB/s"}, 614.4e9, 300e9, 9.6e9),
    ],
)
def test_memory_settings_combine(settings: dict[str, str], peak: float, read: float, transfers: float) -> None:
    memory = load_machine_text(VALID, overrides=settings).memory
    assert memory.bandwidth_bytes_per_second == pytest.approx(peak)
    assert memory.read_bandwidth_bytes_per_second == pytest.approx(read)
    assert memory.transfers_per_second == pytest.approx(transfers)
    assert memory == load_machine_text(VALID, overrides=dict(reversed(settings.items()))).memory


def test_fewer_cores_end_the_clock_curves_and_say_so() -> None:
    base = load_machine_text(VALID)
    cpu = load_machine_text(VALID, overrides={"cores_per_socket": "4", "caches.L3.cores_per_instance": "4"})
    assert cpu.clock.scalar[0] == (1.0, 4e9)
    assert cpu.clock.scalar[-1] == pytest.approx((4.0, interpolate_log(base.clock.scalar, 4.0)))
    assert "clock.scalar follows cores_per_socket: ends at 4 cores" in cpu.notes


def test_other_ways_change_the_sets_and_not_the_latency() -> None:
    base = load_machine_text(VALID)
    cpu = load_machine_text(VALID, overrides={"caches.L2.ways": "8"})
    assert (cpu.caches.L2.sets, cpu.caches.L2.latency) == (4096.0, base.caches.L2.latency)
    both = load_machine_text(VALID, overrides={"caches.L2.ways": "8", "caches.L2.size": "4 MiB"})
    assert both.caches.L2.sets == 8192


def test_differences_have_a_ratio_where_both_are_one_number() -> None:
    rows = {
        row.path: row
        for row in differences(
            load_machine_text(VALID),
            load_machine_text(VALID, overrides={"caches.L2.size": "4MiB", "name": "other", "clock.scalar": "4 GHz"}),
        )
    }
    assert rows["caches.L2.size"] == ("caches.L2.size", "2 MiB", "4 MiB", 2.0)
    assert rows["caches.L2.latency"].ratio == pytest.approx(2**LATENCY_SIZE_EXPONENT, rel=1e-3)
    assert rows["name"].ratio is None
    assert rows["clock.scalar"].ratio is None


def test_abstract_files_are_no_machines_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(VALID)
    (tmp_path / "family.yaml").write_text(VALID.replace("base: server", "abstract: true  # a family"))
    assert available_machines(tmp_path) == ["mine"]


def test_a_fault_in_a_base_is_reported_in_the_base(tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text(VALID.replace("latency: 110 ns", "latency: 110 MHz"))
    (tmp_path / "child.yaml").write_text("format_version: 1\nbase: parent\nname: Child\n")
    assert str(SpecFileError(check_file(tmp_path / "child.yaml").faults)) == (
        f"{tmp_path}/parent.yaml:57:12: memory.latency: '110 MHz' is a frequency, but a time is needed here"
    )


def test_lists_and_curves_of_a_base_are_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text(VALID)
    child = "format_version: 1\nbase: parent\nprovenance: measured\nsource: lab\nclock: {scalar: {2: 3 GHz}}\n"
    (tmp_path / "child.yaml").write_text(child)
    cpu = load_machine(tmp_path / "child.yaml")
    assert cpu.clock.scalar == ((2.0, 3e9),)
    assert cpu.provenance["clock.scalar"] == Provenance("measured", "lab", 0.05)
    assert cpu.provenance["memory.latency"] == Provenance("datasheet", "a data sheet", 0.02)


def test_hbm_like_bandwidth_is_a_warning_not_an_error(tmp_path: Path) -> None:
    path = tmp_path / "hbm.yaml"
    path.write_text(VALID.replace("capacity: 1 TiB", "capacity: 1 TiB\n  core_bandwidth: 40 GB/s"))
    reading = check_file(path)
    assert reading.machine is not None
    rules = [str(w) for w in reading.warnings]
    assert any("one core reads more here than from L3" in rule for rule in rules)


def test_bases_that_go_round_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(VALID.replace("base: server", "base: two"))
    (tmp_path / "two.yaml").write_text(VALID.replace("base: server", "base: one"))
    with pytest.raises(SpecFileError, match="the bases of this spec go round in a circle"):
        load_machine(tmp_path / "one.yaml")


def test_unknown_machines_are_named_with_the_nearest_one() -> None:
    with pytest.raises(SpecFileError, match=r"amd-epyc-9756: no machine of this name.*did you mean 'amd-epyc-9755'"):
        load_machine("amd-epyc-9756")


def test_machines_pickle_for_worker_processes() -> None:
    cpu = load_machine("amd-epyc-9654")
    assert pickle.loads(pickle.dumps(cpu)) == cpu


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mangled_spec_gives_a_traceback(data: Any) -> None:
    tree = yaml.safe_load((SPEC_FOLDER / "amd-epyc-9654.yaml").read_text())
    node, keys = tree, []
    while isinstance(node, dict):
        key = data.draw(st.sampled_from(sorted(node, key=str)))
        keys.append(key)
        node = node[key]
    target = tree
    for key in keys[:-1]:
        target = target[key]
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=5,
    )
    target[keys[-1]] = data.draw(junk)
    reading = read_spec(load("mangled.yaml", yaml.safe_dump(tree, sort_keys=False)), "mangled", SPEC_FOLDER, None)
    assert (reading.machine is None) == bool(reading.faults)


PATHS = [v.path for v in values(load_machine_text(VALID))]
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["0", "-1", "1e400", "nan", "4 MiB", "3 GHz", "0 B", "1 ns", "2 cycles + 1 ns", "9 GB/s", "7 B/cycle", "%"]
    ),
    st.floats(width=32).map(str),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(PATHS) | st.text(max_size=10), texts, min_size=1, max_size=3))
def test_no_setting_gives_a_traceback(overrides: dict[str, str]) -> None:
    try:
        cpu = load_machine_text(VALID, overrides=overrides)
    except SpecFileError as error:
        message = str(error)
    else:
        message = "ok"
        assert load_machine_text(dump_machine(cpu)) == cpu
    assert message
