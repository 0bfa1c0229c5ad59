"""`lookupsim trace`: counts against known ones, JSON fields, exit codes, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from simulator.cachegeometry import CacheGeometry, Hierarchy
from simulator.cli import lookupsim
from simulator.predict import PredictionError
from simulator.tracefile import read_trace
from simulator.tracerun import TraceRun
from simulator.yamlfile import SpecFileError
from tests.readme import CONSOLE, printed

CPU = "amd-epyc-9755"
SMALL = ("--cache", "1KiB,2", "--cache", "16KiB,4")
LOOKUP = ("-w", "lookupffn-t128-s8-bh4", "-b", "8", "--layers", "1")


def invoke(*arguments: object, code: int = 0) -> str:
    """What `lookupsim trace ARGUMENTS` prints in this process, with its message if it fails as expected."""
    ended = CliRunner().invoke(lookupsim, ["trace", *map(str, arguments)])
    if ended.exception is not None and not isinstance(ended.exception, (SystemExit, SpecFileError, PredictionError)):
        raise ended.exception
    assert ended.exit_code == code, ended.output
    return ended.output + ("" if ended.exception is None else str(ended.exception))


@pytest.fixture
def lackey(tmp_path: Path) -> Path:
    """Two sweeps over 32 lines with a fetch for each load."""
    lines = [f"I  {0x4000 + 4 * k:08x},4\n L {64 * k:08x},8\n" for k in range(32)] * 2
    path = tmp_path / "t.txt"
    path.write_text("==1== Lackey\n" + "".join(lines) + " S 0000003c,8\n")
    return path


def test_run_counts_a_file_and_writes_json(lackey: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    text = invoke("run", lackey, *SMALL, "--json", out)
    found = json.loads(out.read_text())
    assert set(found) == {"host", "trace_record_version", "partial", "source", "hierarchy", "accesses", "loads", "stores",
                          "fetches", "straddling", "warmup_accesses", "levels", "instruction_cache", "memory", "tlb",
                          "streams"}  # fmt: skip
    assert found["host"]["lookupsim_version"]
    assert found["source"] == {"file": str(lackey), "format": "lackey"}
    assert (found["partial"], found["trace_record_version"], found["tlb"]) == (False, 1, None)
    assert (found["accesses"], found["loads"], found["stores"], found["fetches"]) == (129, 64, 1, 64)
    assert found["straddling"] == 1
    assert [(lv["level"], lv["accesses"], lv["hits"], lv["misses"]) for lv in found["levels"]] == [
        ("L1", 66, 0, 66),
        ("L2", 66, 34, 32),
    ]
    assert [lv["reference_misses"] for lv in found["levels"]] == [65, 32]
    assert found["levels"][0]["miss_share"] == 1.0
    assert found["memory"]["line_reads"] == 32
    streams = {s["name"]: (s["hits"], s["reference_hits"]) for s in found["streams"]}
    loads = {"L1": 0, "L2": 32, "memory": 32}
    assert streams == {
        "loads": (loads, loads),
        "stores": ({**loads, "L2": 2, "memory": 0}, {**loads, "L2": 1, "memory": 0}),
    }
    assert "given geometry, 1 core: L1 1 KiB 2-way lru, L2 16 KiB 4-way lru" in text
    assert "64 instruction fetches were not simulated" in " ".join(text.split())
    assert "1 loads and stores touch two lines or more" in text


def test_warm_up_cores_and_an_instruction_cache(lackey: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    invoke("run", lackey, "--cache", "4KiB,4", "--warmup", 64, "--instruction-cache", "1KiB,2", "--json", out)
    found = json.loads(out.read_text())
    assert (found["warmup_accesses"], found["accesses"]) == (64, 65)
    assert found["levels"][0]["misses"] == 0
    assert found["instruction_cache"] == {
        "accesses": 32,
        "hits": 32,
        "misses": 0,
        "miss_share": 0.0,
        "reference_misses": 0,
    }
    np.savez(
        tmp_path / "c.npz", format=1, addresses=np.zeros(4, np.uint64), cores=np.arange(4) % 2, writes=np.ones(4, bool)
    )
    message = f"{tmp_path / 'c.npz'}: the trace uses core 1, the hierarchy has 1"
    assert message in invoke("run", tmp_path / "c.npz", *SMALL, code=1)
    invoke("run", tmp_path / "c.npz", *SMALL, "--cores", 2, "--json", out)
    assert json.loads(out.read_text())["levels"][0]["invalidations"] == 3


def test_a_workload_runs_with_its_streams_on_a_machine_and_a_geometry(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    text = invoke("run", *LOOKUP, "-m", CPU, "--warmup", 1, "--json", out)
    found = json.loads(out.read_text())
    source = found["source"]
    assert source["workload"] == "lookupffn-t128-s8-bh4"
    assert (source["batch"], source["layers"], source["threads"]) == (8, 1, 1)
    assert (source["calls"], source["warmup_calls"]) == (1, 1)
    assert found["hierarchy"]["machine"] == "AMD EPYC 9755"
    assert found["hierarchy"]["tlb"]["page_bytes"] == 1 << 21
    assert found["warmup_accesses"] == found["accesses"]
    streams = {s["name"]: s for s in found["streams"]}
    rows = streams["gather table_rows"]
    assert rows["accesses"] == 8 * 128 * 512 * 4 // 64
    assert sum(rows["hits"].values()) == rows["accesses"]
    assert "gather table_rows" in text
    two = ("run", *LOOKUP, "-t", 2, "--schedule", "v4", "--cache", "32KiB,8", "--cache", "1MiB,16", "--policy", "srrip")
    invoke(*two, "--inclusion", "inclusive", "--prefetcher", "stream@L2,2,8", "--json", out)
    found = json.loads(out.read_text())
    assert found["hierarchy"]["levels"][1]["cores_per_instance"] == 2
    assert found["hierarchy"]["levels"][1]["inclusion"] == "inclusive"
    assert found["levels"][1]["prefetches"] > 0
    assert found["source"]["schedule"].startswith("V4")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full")
def test_an_export_writes_to_a_device_and_never_replaces_it(lackey: Path, tmp_path: Path) -> None:
    link = tmp_path / "full.npz"
    link.symlink_to("/dev/full")
    text = invoke("export", lackey, "-o", link, code=1)
    assert "--output" in text
    assert "No space left on device" in text
    assert Path("/dev/full").is_char_device()
    assert link.is_symlink()


def test_an_exported_workload_counts_as_the_workload(tmp_path: Path) -> None:
    path, out = tmp_path / "w.npz", tmp_path / "out.json"
    text = invoke("export", *LOOKUP, "-t", 2, "-o", path)
    invoke("run", *LOOKUP, "-t", 2, "--schedule", "v3", *SMALL, "--json", out)
    live = json.loads(out.read_text())
    assert f"{live['accesses']:,} accesses" in text
    invoke("run", path, *SMALL, "--cores", 2, "--json", out)
    stored = json.loads(out.read_text())
    for key in ("accesses", "loads", "stores", "levels", "memory"):
        assert stored[key] == live[key]
    assert [s["hits"] for s in stored["streams"]] == [s["hits"] for s in live["streams"]]
    assert stored["streams"][0]["name"] == f"stream {stored['streams'][0]['stream']}"


def test_a_lackey_trace_converted_to_npz_counts_alike(lackey: Path, tmp_path: Path) -> None:
    invoke("export", lackey, "-o", tmp_path / "t.npz")
    counts = []
    for path in (lackey, tmp_path / "t.npz"):
        run = TraceRun(Hierarchy((CacheGeometry(1024, 2),)), CacheGeometry(1024, 2))
        for chunk in read_trace(path):
            run.feed(chunk)
        counts.append(run.counts())
    assert counts[0].statistics.levels[0].misses == counts[1].statistics.levels[0].misses > 0
    assert counts[0].missed_fetches == counts[1].missed_fetches > 0
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_stats_of_a_file(lackey: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    text = invoke("stats", lackey, "--json", out)
    found = json.loads(out.read_text())
    assert (found["loads"], found["stores"], found["fetches"], found["straddling"]) == (64, 1, 64, 1)
    assert (found["data"], found["code"]) == ({"lines": 32, "pages": 1}, {"lines": 2, "pages": 1})
    # the store begins in line 0, of which 31 other lines were touched since, and goes on in line 1: line 0 and 30 others
    assert found["reuse"]["distances"] == [{"from": 16, "to": 31, "count": 34}]
    assert found["reuse"]["first_touches"] == 32
    shares = {row["lines"]: row["miss_share"] for row in found["reuse"]["lru_miss_shares"]}
    assert (shares[16], shares[32]) == (1.0, 32 / 66)
    assert found["strides"]["forward"] == [{"from": 1, "to": 1, "count": 62}]
    assert found["strides"]["backward"] == [{"from": 16, "to": 31, "count": 2}]
    assert "first touch" in text
    assert "129 accesses: 64 loads, 1 stores, 64 instruction fetches" in " ".join(text.split())


BAD: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no source": (("run",), 2, "name one source: a trace FILE, or --workload"),
    "two sources": (("run", "x", *LOOKUP), 2, "name one source: a trace FILE, or --workload"),
    "no file": (("run", "/no/such", *SMALL), 1, "/no/such: no such file"),
    "two hierarchies": (("run", "x", "-m", CPU, *SMALL), 2, "--cache and --machine exclude each other"),
    "cache words": (("run", "x", "--cache", "32KiB"), 2,
                    "--cache 32KiB: write SIZE,WAYS or SIZE,WAYS,LINE, e.g. 32KiB,8,64"),
    "cache unit": (("run", "x", "--cache", "32 GHz,8"), 2,
                   "--cache 32 GHz,8: '32 GHz' is a frequency, but a size is needed here"),
    "cache size": (("run", "x", "--cache", "1TiB,8"), 2, "--cache 1TiB,8: a size lies between 1 B and 64 GiB"),
    "cache shape": (("run", "x", "--cache", "1000,3,64"), 2,
                    "--cache 1000,3,64: size_bytes = 1000 is no whole number of sets: 3 ways x 64 B must divide it"),
    "line sizes": (("run", "x", "--cache", "1KiB,2,32", "--cache", "2KiB,2,64"), 2,
                   "this hierarchy is impossible: all levels must have the same line_bytes"),
    "fetch line": (("run", "x", *SMALL, "--instruction-cache", "1KiB,2,32"), 2,
                   "the instruction cache must have the line size of the other levels"),
    "inclusion": (("run", "x", *SMALL, "--inclusion", "inclusive,inclusive"), 2,
                  "--inclusion inclusive,inclusive: one word, or one for each of 1 levels outside the first"),
    "inclusion of a CPU": (("run", "x", "-m", CPU, "--inclusion", "inclusive"), 2,
                           "--inclusion: a machine's spec says it (--set caches.L3.inclusion=...); give it with --cache"),
    "pages": (("run", "x", *SMALL, "--page-size", "4KiB"), 2,
              "--page-size: a geometry of --cache has no TLB; name a CPU"),
    "prefetcher": (("run", "x", *SMALL, "--prefetcher", "stream"), 2,
                   "--prefetcher stream: write KIND@LEVEL[,DEGREE[,DISTANCE]], e.g. stream@L2,2,16"),
    "prefetcher kind": (("run", "x", *SMALL, "--prefetcher", "best@L1"), 2,
                        "--prefetcher best@L1: prefetcher kind 'best': choose stream, stride or adjacent"),
    "cores": (("run", *LOOKUP, *SMALL, "--cores", "2"), 2, "--cores does not go with a workload"),
    "form": (("export", *LOOKUP, "--format", "npz", "-o", "x"), 2, "--format does not go with a workload"),
    "threads of a file": (("run", "x", *SMALL, "-t", "2"), 2, "--threads does not go with a trace file"),
    "set of a file": (("run", "x", *SMALL, "--set", "workload.batch=2"), 2, "--set workload.PATH does not go with a trace file"),
    "set without spec": (("run", "x", *SMALL, "--set", "caches.L2.size=1MiB"), 2,
                         "--set caches.L2.size: --cache leaves no spec to change"),
    "machine": (("run", "x", "-m", "amd-epyc-9756"), 1, "did you mean 'amd-epyc-9755'?"),
    "gemm schedule": (("run", "-w", "roberta-small", "--schedule", "v3", *SMALL), 1,
                      "schedule v3: named schedules are those of a look-up FFN, this workload is a GEMM"),
    "threads": (("run", *LOOKUP, "-m", CPU, "-t", "129"), 1, "129 threads do not fit amd-epyc-9755: it has 128"),
    "line size": (("stats", "x", "--line-size", "48"), 2, "--line-size: line_bytes must be a power of two, got 48"),
    "output": (("export", *LOOKUP, "-o", "/no/such/x.npz"), 1, "--output /no/such/x.npz: cannot be written: No such file"),
    "no output": (("export", *LOOKUP), 2, "Missing option '--output'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_command_lines_get_one_message_and_an_exit_code(name: str) -> None:
    arguments, code, message = BAD[name]
    assert message in " ".join(invoke(*arguments, code=code).split())


def test_a_broken_trace_ends_a_process_without_traceback(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("I  04,3\n L 08,8\nfree lunch\n")
    for command in ("run", "stats"):
        arguments = [
            sys.executable,
            "-m",
            "simulator.cli",
            "trace",
            command,
            str(path),
            *(SMALL if command == "run" else ()),
        ]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=100)
        assert ended.returncode == 1
        assert ended.stdout == ""
        assert ended.stderr.splitlines() == [
            f"{path}:3: a line begins with 'I  ', ' L ', ' S ' or ' M ' (or ==pid==); record with --log-file to keep the"
            " program's output apart, got 'free lunch'"
        ]


def test_an_interrupted_run_says_so_and_keeps_what_it_counted(tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out.json"
    os.mkfifo(pipe)
    block = b" L 00001000,8\n" * 70_000  # 1 MB
    arguments = [sys.executable, "-m", "simulator.cli", "trace", "run", str(pipe), *SMALL, "--json", str(out)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:

        def write() -> None:
            try:
                with open(pipe, "wb", buffering=0) as stream:
                    for number in range(500):
                        stream.write(block)
                        if number == 9:
                            process.send_signal(signal.SIGINT)
            except BrokenPipeError:
                pass

        writer = threading.Thread(target=write)
        writer.start()
        text, error = process.communicate(timeout=100)
        writer.join()
    assert (process.returncode, error) == (
        130,
        "interrupted: the counts are partial, they end where the trace was stopped\n",
    )
    found = json.loads(out.read_text())
    assert found["partial"] is True
    assert 0 < found["accesses"] < 500 * 70_000
    assert found["levels"][0]["accesses"] == found["accesses"]
    assert f"{found['accesses']:,} accesses" in text


def test_the_documented_commands_print_what_is_documented() -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "traces.md").read_text()
    examples = CONSOLE.findall(text)
    assert len(examples) == 1
    for arguments, output in examples:
        assert printed(arguments) == output
