"""What lies between cores, slices, banks and sockets: what counts where a spec is silent, and that what it says arrives."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simulator.resources import broadcastable, resolve
from simulator.specdump import dump_machine
from simulator.specfile import SPEC_FOLDER, load_machine_text, read_spec
from simulator.uncertainty import perturbed
from simulator.yamlfile import load
from tests.broken import VALID

SILENT = VALID + "  row_cycle: null\n  row_size: null\n  banks_per_channel: null\n  interleave: null\n"
SILENT += "interconnect: {socket_latency: null, socket_bandwidth: null}\n"
STATED = (
    VALID.replace("    latency: 20 ns\n", "    latency: 20 ns\n    slices: 4\n    shared_bandwidth: 200 GB/s\n")
    + """\
  banks_per_channel: 16
  row_size: 8 KiB
  row_cycle: 46 ns
  interleave: 1 KiB
  loaded_latency: {0.4: 1, 0.8: 1.3, 1: 2.5}
interconnect:
  core_to_core: 8 ns + 120 cycles
  core_to_core_far: 150 ns
  mesh_bandwidth: 400 GB/s
  socket_latency: 80 ns
  socket_bandwidth: 60 GB/s
"""
)


def resources(text: str) -> Any:
    return broadcastable(resolve(load_machine_text(text, "good.yaml"), 8.0))


def test_silence_means_latencies_from_the_caches_and_nothing_that_queues() -> None:
    r = resources(SILENT)
    assert r.core_to_core_seconds == pytest.approx(40e-9)  # asked and answered through the L3
    assert r.core_to_core_far_seconds == pytest.approx(110e-9)  # the way to memory
    assert r.last_level_slices == 8.0
    assert math.isinf(r.slice_bytes_per_second)
    assert math.isinf(r.mesh_bytes_per_second)
    assert (r.dram_banks, r.dram_row_bytes, r.dram_interleave_bytes) == (16.0, 8192.0, 256.0)
    assert r.dram_row_cycle_seconds == 0.0
    assert r.loaded_latency == ()
    assert r.numa_latency_seconds == 0.0
    assert math.isinf(r.numa_bytes_per_second)
    assert (r.memory_channels, r.smt_threads) == (8.0, 2.0)


def test_what_a_spec_states_arrives() -> None:
    r = resources(STATED)
    assert r.core_to_core_seconds == pytest.approx(8e-9 + 120 / 3.5e9)  # at the clock of eight cores
    assert r.core_to_core_far_seconds == pytest.approx(150e-9)
    assert (r.last_level_slices, r.slice_bytes_per_second) == (4.0, pytest.approx(50e9))
    assert (r.mesh_bytes_per_second, r.numa_bytes_per_second) == (400e9, 60e9)
    assert r.numa_latency_seconds == pytest.approx(80e-9)
    assert (r.dram_banks, r.dram_row_bytes, r.dram_interleave_bytes) == (16.0, 8192.0, 1024.0)
    assert r.dram_row_cycle_seconds == pytest.approx(46e-9)
    assert r.loaded_latency == ((0.4, 1.0), (0.8, 1.3), (1.0, 2.5))


def test_a_stated_slice_bandwidth_beats_the_even_share() -> None:
    text = STATED.replace("    slices: 4\n", "    slices: 4\n    slice_bandwidth: 16 B/cycle\n")
    assert resources(text).slice_bytes_per_second == pytest.approx(16 * 3.5e9)


def test_the_sections_survive_a_dump() -> None:
    machine = load_machine_text(STATED, "good.yaml")
    again = load_machine_text(dump_machine(machine), "good.yaml")
    assert again == machine
    assert again.provenance["interconnect.core_to_core"] == machine.provenance["interconnect.core_to_core"]


def test_an_empty_interconnect_is_left_out_of_a_dump() -> None:
    assert "interconnect" not in dump_machine(load_machine_text(SILENT, "good.yaml"))


def test_draws_never_make_loaded_memory_faster_than_idle() -> None:
    machine = load_machine_text(STATED.replace("provenance: datasheet", "provenance: estimated", 1), "good.yaml")
    drawn = broadcastable(resolve(perturbed(machine, 50), 8.0))
    points = dict(drawn.loaded_latency)
    assert points[1.0].shape == (50, 1)
    assert np.all(points[1.0] > points[0.8])
    assert np.all(points[0.4] == 1.0)
    assert np.ptp(points[0.8]) > 0.0
    assert drawn.core_to_core_seconds.shape == (50, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "8 ns + 120 cycles",
            "15 ns",
            "interconnect.core_to_core: shorter than a read of L3, which is asked first: 20 ns",
        ),
        ("400 GB/s", "200 GB/s", "memory.read_bandwidth of 250 GB/s does not pass through it; the lower one counts"),
        ("46 ns", "150 ns", "memory.row_cycle: longer than a whole read: memory.latency is 110 ns"),
    ],
)
def test_what_is_odd_but_possible_is_a_warning(old: str, new: str, message: str) -> None:
    assert old in STATED
    reading = read_spec(load("odd.yaml", STATED.replace(old, new)), "odd", SPEC_FOLDER, None)
    assert reading.machine is not None
    assert any(message in str(warning) for warning in reading.warnings)


def test_smt_threads_follow_the_spec() -> None:
    machine = replace(load_machine_text(VALID, "good.yaml"), threads_per_core=4.0)
    assert resolve(machine, 2.0).smt_threads == 4.0
