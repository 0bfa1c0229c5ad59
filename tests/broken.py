"""Spec texts that break one rule each, made from a small valid spec."""

from __future__ import annotations

from pathlib import Path

from simulator import yamlfile
from simulator.specfile import SPEC_FOLDER, load_machine_text, read_spec
from simulator.yamlfile import SpecFileError

VALID = """\
format_version: 1
base: server
provenance: datasheet
source: "a data sheet"
name: Test CPU
vendor: none
microarchitecture: none
cores_per_socket: 8
isa: [avx2, avx512, avx512_vnni]
clock:
  scalar: {1: 4 GHz, 8: 3.5 GHz}
core:
  issue_width: 6
  load_bandwidth: 128 B/cycle
  store_bandwidth: 64 B/cycle
  vector_window_uops: 130
  demand_lines_in_flight: 24
  vector:
    width: 512 bit
    fma_per_cycle: 2
    alu_per_cycle: 2
    convert_per_cycle: 1
    dot_int8_per_cycle: 2
caches:
  L1:
    size: 48 KiB
    ways: 12
    latency: 5 cycles
    bandwidth: 128 B/cycle
  L2:
    size: 2 MiB
    ways: 16
    sets: 2048
    latency: 16 cycles
    bandwidth: 48 B/cycle
  L3:
    size: 32 MiB
    ways: 16
    cores_per_instance: 8
    latency: 20 ns
    bandwidth: 30 GB/s
tlb:
  l1_entries_4k: 64
  l1_entries_2m: 32
  l2_entries_4k: 2048
  l2_entries_2m: 1024
prefetcher:
  stream_lines_in_flight: 24
  row_lines_in_flight: 12
  software_lines_in_flight: 40
memory:
  kind: DDR5
  channels: 8
  transfer_rate: 4800 MT/s
  bandwidth: 307.2 GB/s
  read_bandwidth: 250 GB/s
  latency: 110 ns
  capacity: 1 TiB
"""

TILES = "{tile_rows: 16, tile_columns: 16, tile_row_bytes: 64 B, tiles: 8, cycles_per_operation: 16 cycles}"
Edit = tuple[str, str]

CASES: dict[str, tuple[Edit, ...]] = {
    "size without a unit": (("size: 48 KiB", "size: 48"),),
    "a frequency for a size": (("size: 2 MiB", "size: 2 MHz"),),
    "ambiguous KB": (("size: 48 KiB", "size: 48 KB"),),
    "wrong case of a unit": (("8: 3.5 GHz", "8: 3.5 Ghz"),),
    "a time for a bandwidth": (("bandwidth: 307.2 GB/s", "bandwidth: 307.2 ns"),),
    "a number for a latency": (("latency: 16 cycles", "latency: 16"),),
    "a size for a latency": (("latency: 20 ns", "latency: 20 KiB"),),
    "negative latency": (("latency: 110 ns", "latency: -110 ns"),),
    "unknown key": (("    ways: 12", "    wayz: 12"),),
    "unknown section": (("prefetcher:", "prefetchers:"),),
    "unknown key of a value": (("size: 48 KiB", "size: {value: 48 KiB, confidence: high}"),),
    "duplicate key": (("    ways: 12", "    ways: 12\n    ways: 8"),),
    "missing key": (("    ways: 12\n", ""),),
    "missing section": (
        ("tlb:\n  l1_entries_4k: 64\n  l1_entries_2m: 32\n  l2_entries_4k: 2048\n  l2_entries_2m: 1024\n", ""),
    ),
    "text YAML reads as text": (("channels: 8", "channels: 8e0"),),
    "octal": (("cores_per_socket: 8", "cores_per_socket: 010"),),
    "base 60": (("channels: 8", "channels: 1:30"),),
    "truth value": (("name: Test CPU", "name: no"),),
    "date": (("name: Test CPU", "name: 2026-11-23"),),
    "infinite": (("channels: 8", "channels: .inf"),),
    "sets x ways x line": (("sets: 2048", "sets: 1024"),),
    "size not a multiple of a way": (("size: 48 KiB", "size: 49 kB"),),
    "latency falls outwards": (("latency: 16 cycles", "latency: 4 cycles"),),
    "memory faster than the L3": (("latency: 110 ns", "latency: 15 ns"),),
    "L3 shared by too many": (("cores_per_instance: 8", "cores_per_instance: 16"),),
    "a clock point beyond the cores": (("8: 3.5 GHz", "16: 3.5 GHz"),),
    "a curve that falls back": (("{1: 4 GHz, 8: 3.5 GHz}", "{8: 4 GHz, 1: 3.5 GHz}"),),
    "amx without tile data": (("avx512_vnni]", "avx512_vnni, amx_bf16]"),),
    "tiles without amx": (
        (
            "  vector:\n",
            f"  matrix: {TILES}\n  vector:\n",
        ),
    ),
    "an amx clock without amx": (("clock:\n", "clock:\n  amx: 3 GHz\n"),),
    "512 bit without avx512": (("isa: [avx2, avx512, avx512_vnni]", "isa: [avx2, avx_vnni]"),),
    "avx512 at 256 bit": (("width: 512 bit", "width: 256 bit"),),
    "dot products without the instruction": (("avx512, avx512_vnni]", "avx512]"),),
    "the instruction without a rate": (("    dot_int8_per_cycle: 2\n", ""),),
    "unknown instruction set": (("avx512_vnni]", "avx512_vni]"),),
    "memory identity": (("bandwidth: 307.2 GB/s", "bandwidth: 512 GB/s"),),
    "read above the peak": (("read_bandwidth: 250 GB/s", "read_bandwidth: 350 GB/s"),),
    "unknown memory": (("kind: DDR5", "kind: DDR6"),),
    "unknown provenance": (("provenance: datasheet", "provenance: datashet"),),
    "no provenance": (('provenance: datasheet\nsource: "a data sheet"\n', ""),),
    "unknown base": (("base: server", "base: sever"),),
    "base with a path": (("base: server", "base: ../server"),),
    "no format version": (("format_version: 1\n", ""),),
    "future format version": (("format_version: 1", "format_version: 2"),),
    "zero ways": (("ways: 12", "ways: 0"),),
    "text for a section": (
        (
            "tlb:\n  l1_entries_4k: 64\n  l1_entries_2m: 32\n  l2_entries_4k: 2048\n  l2_entries_2m: 1024\n",
            "tlb: big\n",
        ),
    ),
    "a tag": (("name: Test CPU", "name: !!python/object:os.system x"),),
    "an alias": (("name: Test CPU\nvendor: none", "name: &a Test CPU\nvendor: *a"),),
    "not YAML": (("isa: [avx2, avx512, avx512_vnni]", "isa: [avx2, avx512"),),
    "two faults at once": (("size: 48 KiB", "size: 48"), ("latency: 110 ns", "latncy: 110 ns")),
    "a fraction of a core": (("cores_per_socket: 8", "cores_per_socket: 8.5"),),
    "a fraction of a channel": (("channels: 8", "channels: 8.5"), ("307.2", "326.4")),
    "an L1 that answers at once": (("latency: 5 cycles", "latency: 0 cycles"),),
    "an L2 smaller than the L1": (("size: 2 MiB", "size: 32 KiB"), ("sets: 2048", "sets: 32")),
    "two line sizes": (
        ("    ways: 12", "    ways: 12\n    line: 64 B"),
        ("    sets: 2048", "    sets: 1024\n    line: 128 B"),
    ),
    "a base clock of nothing": (("clock:\n", "clock:\n  base: 0 GHz\n"),),
    "a clock that stands still": (("{1: 4 GHz, 8: 3.5 GHz}", "0 Hz"),),
    "an efficiency above 1": (("tlb:", "software:\n  gemm_efficiency_fp32: {1: 0.5, 64: 1.5}\ntlb:"),),
    "memory that overlaps better than caches": (("tlb:", "software:\n  library_overlap_memory: 3\ntlb:"),),
    "a miss share that falls": (("ways: 12", "ways: 12\n    cyclic_miss_curve: {0.5: 0.5, 1: 0.2}"),),
    "a miss share above 1": (("ways: 12", "ways: 12\n    random_miss_curve: {0.5: 0.5, 1: 120 %}"),),
    "a curve of triples": (("{1: 4 GHz, 8: 3.5 GHz}", "[[1, 4 GHz, 3]]"),),
    "an empty curve": (("{1: 4 GHz, 8: 3.5 GHz}", "{}"),),
    "bf16 products without the instruction": (
        ("    dot_int8_per_cycle: 2", "    dot_int8_per_cycle: 2\n    dot_bf16_per_cycle: 1"),
    ),
    "neon beside avx": (("avx512_vnni]", "avx512_vnni, neon]"),),
    "instruction sets as text": (("isa: [avx2, avx512, avx512_vnni]", "isa: avx2"),),
    "an instruction set twice": (("[avx2, avx512,", "[avx2, avx2, avx512,"),),
    "no name": (("name: Test CPU", "name:"),),
    "a number for a name": (("name: Test CPU", "name: 8380"),),
    "a required section of nothing": (("base: server", "base: server\nsoftware: null"),),
    "an interval in per cent without the sign": (("size: 48 KiB", "size: {value: 48 KiB, interval: 5}"),),
    "abstract": (("base: server", "base: server\nabstract: true"),),
    "abstract that is no truth value": (("base: server", "base: server\nabstract: maybe"),),
    "a tab": (("  L1:\n    size", "  L1:\n\tsize"),),
    "too deep": (("name: Test CPU", f"name: {'[' * 40}{']' * 40}"),),
    "core bandwidth above the peak": (("capacity: 1 TiB", "capacity: 1 TiB\n  core_bandwidth: 400 GB/s"),),
    "faults of three kinds": (
        ("ways: 12", "ways: 010"),
        ("latency: 16 cycles", "latency: 16 cyclse"),
        ("channels: 8", "chanels: 8"),
    ),
    "siblings with less than one thread": (
        ("  demand_lines_in_flight: 24", "  demand_lines_in_flight: 24\n  smt_demand_lines_in_flight: 20"),
    ),
    "cores closer than nothing": (("memory:\n", "interconnect:\n  core_to_core: 0 ns\nmemory:\n"),),
    "far cores nearer than near ones": (
        ("memory:\n", "interconnect:\n  core_to_core: 45 ns\n  core_to_core_far: 40 ns\nmemory:\n"),
    ),
    "a remote socket as near as the own one": (("memory:\n", "interconnect: {socket_latency: 0 ns}\nmemory:\n"),),
    "sockets joined by nothing": (("memory:\n", "interconnect: {socket_bandwidth: 0 GB/s}\nmemory:\n"),),
    "a fabric in nanoseconds": (("memory:\n", "interconnect: {mesh_bandwidth: 5 ns}\nmemory:\n"),),
    "an interconnect of nothing": (("memory:\n", "interconnect: null\nmemory:\n"),),
    "a fraction of a slice": (("latency: 20 ns", "latency: 20 ns\n    slices: 7.5"),),
    "slices that cut lines": (("latency: 20 ns", "latency: 20 ns\n    slices: 7"),),
    "slices too slow for their cache": (
        ("latency: 20 ns", "latency: 20 ns\n    shared_bandwidth: 400 GB/s\n    slice_bandwidth: 40 GB/s"),
    ),
    "a fraction of a bank": (("capacity: 1 TiB", "capacity: 1 TiB\n  banks_per_channel: 16.5"),),
    "a row that is no power of two": (("capacity: 1 TiB", "capacity: 1 TiB\n  row_size: 6 KiB"),),
    "channels that alternate within a line": (("capacity: 1 TiB", "capacity: 1 TiB\n  interleave: 32 B"),),
    "row cycles without rows": (("capacity: 1 TiB", "capacity: 1 TiB\n  row_size: null\n  row_cycle: 46 ns"),),
    "loaded memory faster than idle": (("capacity: 1 TiB", "capacity: 1 TiB\n  loaded_latency: {0.1: 0.9, 1: 2}"),),
    "latency that falls under load": (
        ("capacity: 1 TiB", "capacity: 1 TiB\n  loaded_latency: {0.1: 1, 0.5: 1.6, 1: 1.4}"),
    ),
    "a load above the bandwidth": (("capacity: 1 TiB", "capacity: 1 TiB\n  loaded_latency: {0.1: 1, 1.2: 2}"),),
    "a list": ((VALID, "- 1\n- 2\n"),),
    "empty": ((VALID, ""),),
}

SETTINGS = (
    {"caches.L2.size": "4MHz"},
    {"caches.L2.sise": "4MiB"},
    {"caches.L2": "4MiB"},
    {"cache.L2.size": "4MiB"},
    {"caches.L2.size.bytes": "4"},
    {"isa": "avx2"},
    {"caches.L3.cores_per_instance": "64"},
    {"memory.latency": "1 ns"},
    {"status": "shiping"},
    {"caches.L2.size": "0 B"},
    {"caches.L1.size": "64 KiB"},
    {"caches.L4.size": "1 MiB"},
    {"memory.channels": "0"},
    {"memory.channels": "nan"},
    {"memory.channels": "9.5"},
    {"memory.bandwidth": "1 TB/s", "memory.transfer_rate": "4800 MT/s"},
    {"cores_per_socket": "4"},
    {"name": ""},
    {"": "3"},
    {"provenance": "measured"},
    {"year": "1066"},
    {"caches.L2.sise": "4MiB", "memory.latncy": "1 ns"},
)


def broken(edits: tuple[Edit, ...]) -> str:
    """The valid spec with edits; every edit must hit."""
    text = VALID
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def messages(edits: tuple[Edit, ...]) -> str:
    """What the reader says about a broken spec named bad.yaml."""
    reading = read_spec(yamlfile.load("bad.yaml", broken(edits)), "bad", Path(SPEC_FOLDER), None)
    return str(SpecFileError(reading.faults))


def setting_messages(settings: dict[str, str]) -> str:
    """What `--set` says."""
    try:
        load_machine_text(VALID, "good.yaml", settings)
    except SpecFileError as error:
        return str(error)
    return ""
