"""What is said of the host: a name for files, what tells two hosts apart, and readings that fail on no system."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from kernels.host import HostError, observe
from tests.validatecases import HOST
from validate import hostfacts
from validate.hostfacts import SAME_HOST, host_facts, host_id, load_average, steal_seconds, why_another

PROCESSORS = {
    "AMD EPYC 9755 128-Core Processor": "amd-epyc-9755-128-core",
    "Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz": "intel-xeon-platinum-8480",
    "AMD EPYC": "amd-epyc",
    "../../etc/passwd": "etc-passwd",
    "a/b\\c:d*e?f[g]\0\n\t~": "a-b-c-d-e-f-g",
    "Größe № 5 \U0001f600": "gr-e-5",
    "": "x86-64",
    "CPU (unknown) @ 3 GHz": "x86-64",
    "-- . --": "x86-64",
    "龙芯": "x86-64",
}


@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_host_has_the_name_of_its_processor(processor: str) -> None:
    assert host_id({**HOST, "processor": processor}) == f"{PROCESSORS[processor]}-f26m2-2c-vm"


def test_real_hardware_is_no_virtual_machine() -> None:
    assert host_id({**HOST, "virtual_machine": False}) == "amd-epyc-f26m2-2c"


ODD: list[dict[str, Any]] = [
    {"processor": None}, {"processor": "", "architecture": ""}, {"processor": "?", "architecture": "../x"},
    {"processor": "x" * 5000}, {"processor": "", "architecture": "y" * 5000}, {"processor": "y" * 59 + " z"},
    {"family": None, "model": None}, {"architecture": "aarch64", "processor": "", "family": None, "model": None},
]  # fmt: skip


@pytest.mark.parametrize("change", ODD, ids=[str(i) for i in range(len(ODD))])
def test_whatever_a_system_says_the_name_is_a_file_name(change: dict[str, Any]) -> None:
    name = host_id({**HOST, **change})
    assert re.fullmatch(r"[a-z0-9]+(-[A-Za-z0-9]+)*", name)
    assert len(name) < 100


def test_nothing_tells_a_host_from_itself() -> None:
    assert why_another(HOST, json.loads(json.dumps(HOST))) == ""
    assert why_another(HOST, {**HOST, "kernel": "another", "lookupsim_version": "0.0.1", "libraries": {"x": "1"}}) == ""


@pytest.mark.parametrize("name", SAME_HOST)
def test_what_tells_two_hosts_apart_is_named(name: str) -> None:
    assert why_another({**HOST, name: "new"}, HOST) == f"{name} is new, there {HOST[name]}"
    less = {key: value for key, value in HOST.items() if key != name}
    assert why_another(HOST, less) == f"{name} is {HOST[name]}, there None"


def test_facts_of_this_host_survive_json(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        observe()
    except HostError:
        pytest.skip("no host to observe")
    monkeypatch.setattr(hostfacts, "LIBRARIES", ())
    facts = host_facts((0,))
    assert set(SAME_HOST) <= set(facts)
    assert facts["usable_cpus"] == 1
    assert why_another(facts, json.loads(json.dumps(facts, allow_nan=False))) == ""


def stat_file(monkeypatch: pytest.MonkeyPatch, read: Callable[[], str]) -> None:
    """What reading /proc/stat does."""

    class File:
        def __init__(self, path: str) -> None:
            assert path == "/proc/stat"

        def read_text(self) -> str:
            return read()

    monkeypatch.setattr(hostfacts, "Path", File)


def test_steal_is_the_eighth_counter_of_all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    stat_file(monkeypatch, lambda: "cpu  10 11 12 13 14 15 16 250 18 19\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    assert steal_seconds() == 250 / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("text", ["", "\n", "cpu 1 2 3", "cpu a b c d e f g h"])
def test_no_steal_where_it_is_not_told(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stat_file(monkeypatch, lambda: text)
    assert steal_seconds() == 0.0


def test_readings_that_fail_are_0(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Any:
        raise OSError("not here")

    stat_file(monkeypatch, fails)
    monkeypatch.setattr(os, "getloadavg", fails)
    assert (steal_seconds(), load_average()) == (0.0, 0.0)


def test_readings_of_this_host_are_no_less_than_0() -> None:
    assert steal_seconds() >= 0.0
    assert load_average() >= 0.0


def test_a_system_that_pins_no_threads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    with pytest.raises(HostError, match="threads cannot be pinned on this system"):
        hostfacts.usable_cpus()
