"""Broken specs and overrides, each with the exact messages that a user sees."""

from __future__ import annotations

import pytest

from tests.broken import CASES, SETTINGS, messages, setting_messages

EXPECTED = {
    "size without a unit": [
        "bad.yaml:26:11: caches.L1.size: a size needs a unit, e.g. '32 KiB', got 48",
    ],
    "a frequency for a size": [
        "bad.yaml:31:11: caches.L2.size: '2 MHz' is a frequency, but a size is needed here",
    ],
    "ambiguous KB": [
        "bad.yaml:26:11: caches.L1.size: unknown unit 'KB': write KiB (1024) or kB (1000)",
    ],
    "wrong case of a unit": [
        "bad.yaml:11:11: clock.scalar: unknown unit 'Ghz' (did you mean GHz?)",
    ],
    "a time for a bandwidth": [
        "bad.yaml:55:14: memory.bandwidth: '307.2 ns' is a time, but a bandwidth is needed here",
    ],
    "a number for a latency": [
        "bad.yaml:34:14: caches.L2.latency: a latency needs a unit, e.g. '14 cycles' or '33 ns', got 16",
    ],
    "a size for a latency": [
        "bad.yaml:40:14: caches.L3.latency: '20 KiB' is a size, but a time is needed here, e.g. '14 cycles' or '33 ns'",
    ],
    "negative latency": [
        "bad.yaml:57:12: memory.latency: a time cannot be negative, got -110 ns",
    ],
    "unknown key": [
        "bad.yaml:25:3: caches.L1.ways: missing",
        "bad.yaml:27:5: caches.L1.wayz: unknown key (did you mean 'ways'?)",
    ],
    "unknown section": [
        "bad.yaml:1:1: prefetcher: missing",
        "bad.yaml:47:1: prefetchers: unknown key (did you mean 'prefetcher'?)",
    ],
    "unknown key of a value": [
        "bad.yaml:26:27: caches.L1.size.confidence: unknown key of a value",
    ],
    "duplicate key": [
        "bad.yaml:28:5: caches.L1.ways: duplicate key, first given in line 27",
    ],
    "missing key": [
        "bad.yaml:25:3: caches.L1.ways: missing",
    ],
    "missing section": [
        "bad.yaml:1:1: tlb.l1_entries_2m: missing",
        "bad.yaml:1:1: tlb.l1_entries_4k: missing",
        "bad.yaml:1:1: tlb.l2_entries_2m: missing",
        "bad.yaml:1:1: tlb.l2_entries_4k: missing",
    ],
    "text YAML reads as text": [
        "bad.yaml:53:13: memory.channels: '8e0' is text in YAML 1.1: write 8.0e+0 or the number in full",
    ],
    "octal": [
        "bad.yaml:8:19: cores_per_socket: '010' would be octal 8 in YAML 1.1: write 10 or '010'",
    ],
    "base 60": [
        "bad.yaml:53:13: memory.channels: '1:30' would be a base-60 number in YAML 1.1: write it in quotes",
    ],
    "truth value": [
        "bad.yaml:5:7: name: 'no' would be a truth value in YAML 1.1: write true, false or 'no'",
    ],
    "date": [
        "bad.yaml:5:7: name: '2026-11-23' would be a date in YAML 1.1: write it in quotes",
    ],
    "infinite": [
        "bad.yaml:53:13: memory.channels: a finite number is needed, got .inf",
    ],
    "sets x ways x line": [
        "bad.yaml:31:11: caches.L2.size: sets x ways x line must be the size: 1024 x 16 x 64 B = 1 MiB, got 2 MiB",
    ],
    "size not a multiple of a way": [
        "bad.yaml:26:11: caches.L1.size: must be a multiple of ways x line = 768 B, got 49000 B",
    ],
    "latency falls outwards": [
        "bad.yaml:34:14: caches.L2.latency: latency must rise outwards: L1 has 1.25 ns, got 1 ns",
    ],
    "memory faster than the L3": [
        "bad.yaml:57:12: memory.latency: latency must rise outwards: L3 has 20 ns, got 15 ns",
    ],
    "L3 shared by too many": [
        "bad.yaml:39:25: caches.L3.cores_per_instance: the socket has 8 cores, got 16",
    ],
    "a clock point beyond the cores": [
        "bad.yaml:11:11: clock.scalar: the socket has 8 cores, got a point at 16",
    ],
    "a curve that falls back": [
        "bad.yaml:11:11: clock.scalar: the x of a curve must rise, got 8 before 1",
    ],
    "amx without tile data": [
        "bad.yaml:9:6: isa: amx needs core.matrix (tile_rows, tile_columns, tile_row_bytes, tiles, cycles_per_operation)",
    ],
    "tiles without amx": [
        "bad.yaml:18:23: core.matrix: a matrix unit needs amx_bf16 or amx_int8 in isa",
    ],
    "an amx clock without amx": [
        "bad.yaml:11:8: clock.amx: an amx clock needs amx_bf16 or amx_int8 in isa",
    ],
    "512 bit without avx512": [
        "bad.yaml:19:12: core.vector.width: more than 256 bit needs avx512 or sve in isa, got 512 bit",
    ],
    "avx512 at 256 bit": [
        "bad.yaml:19:12: core.vector.width: avx512 in isa needs 512 bit, got 256 bit",
    ],
    "dot products without the instruction": [
        "bad.yaml:23:25: core.vector.dot_int8_per_cycle: needs avx512_vnni, avx_vnni or i8mm in isa, got 2",
    ],
    "the instruction without a rate": [
        "bad.yaml:19:12: core.vector.dot_int8_per_cycle: isa has avx512_vnni: the rate must be above 0, got 0",
    ],
    "unknown instruction set": [
        "bad.yaml:9:6: isa: must be one of avx2, avx512, avx512_bf16, avx512_vnni, avx_vnni, amx_bf16, amx_int8, neon, sve, bf16, i8mm, got 'avx512_vni' (did you mean 'avx512_vnni'?)",
    ],
    "memory identity": [
        "bad.yaml:55:14: memory.bandwidth: must be channels x transfer_rate x channel_width = 307.2 GB/s, got 512 GB/s",
    ],
    "read above the peak": [
        "bad.yaml:56:19: memory.read_bandwidth: cannot exceed memory.bandwidth, 307.2 GB/s here, got 350 GB/s",
    ],
    "unknown memory": [
        "bad.yaml:52:9: memory.kind: must be one of DDR4, DDR5, LPDDR5, MRDIMM, HBM2e, HBM3, other, got 'DDR6' (did you mean 'DDR5'?)",
    ],
    "unknown provenance": [
        "bad.yaml:3:13: provenance: must be one of datasheet, measured, announced, estimated, got 'datashet' (did you mean 'datasheet'?)",
    ],
    "no provenance": [
        "bad.yaml:41:18: tlb.l1_entries_4k: no provenance: give the value, its section or the file 'provenance:' and 'source:'; 38 more values have none either",
    ],
    "unknown base": [
        "bad.yaml:2:7: base: no spec of this name beside the file or in hardware_specs, got 'sever' (did you mean 'server'?)",
    ],
    "base with a path": [
        "bad.yaml:2:7: base: must be the id of a spec (letters, digits, '-', '_' and '.'), got '../server'",
    ],
    "no format version": [
        "bad.yaml:1:1: format_version is missing: write 'format_version: 1' as the first line",
    ],
    "future format version": [
        "bad.yaml:1:17: format_version: this version reads format 1: compare with a shipped spec and set format_version: 1, got 2",
    ],
    "zero ways": [
        "bad.yaml:27:11: caches.L1.ways: must be at least 1, got 0",
    ],
    "text for a section": [
        "bad.yaml:42:6: tlb: a section of fields is needed here, got 'big'",
    ],
    "a tag": [
        "bad.yaml:5:7: name: the tag tag:yaml.org,2002:python/object:os.system is not allowed",
    ],
    "an alias": [
        "bad.yaml:6:9: aliases (*name) are not allowed: write the value out",
    ],
    "not YAML": [
        "bad.yaml:10:6: not YAML: expected ',' or ']', but got ':' while parsing a flow sequence",
    ],
    "two faults at once": [
        "bad.yaml:26:11: caches.L1.size: a size needs a unit, e.g. '32 KiB', got 48",
        "bad.yaml:51:1: memory.latency: missing",
        "bad.yaml:57:3: memory.latncy: unknown key (did you mean 'latency'?)",
    ],
    "a fraction of a core": [
        "bad.yaml:8:19: cores_per_socket: must be a whole number, got 8.5",
    ],
    "a fraction of a channel": [
        "bad.yaml:53:13: memory.channels: must be a whole number, got 8.5",
    ],
    "an L1 that answers at once": [
        "bad.yaml:28:14: caches.L1.latency: a latency must be above 0",
    ],
    "an L2 smaller than the L1": [
        "bad.yaml:31:11: caches.L2.size: an L2 smaller than the L1 is no cache for it, got 32 KiB",
    ],
    "two line sizes": [
        "bad.yaml:28:11: caches.L1.line: all levels need the same line size: L1 64 B, L2 128 B, L3 64 B",
    ],
    "a base clock of nothing": [
        "bad.yaml:11:9: clock.base: must be above 0, got 0 GHz",
    ],
    "a clock that stands still": [
        "bad.yaml:11:11: clock.scalar: a frequency must be above 0",
    ],
    "an efficiency above 1": [
        "bad.yaml:43:25: software.gemm_efficiency_fp32: an efficiency lies above 0 and at most at 1, got 1.5",
    ],
    "memory that overlaps better than caches": [
        "bad.yaml:43:27: software.library_overlap_memory: memory cannot overlap better than the caches: library_overlap_cache is 2, got 3",
    ],
    "a miss share that falls": [
        "bad.yaml:28:24: caches.L1.cyclic_miss_curve: a miss share never falls as the working set grows",
    ],
    "a miss share above 1": [
        "bad.yaml:28:24: caches.L1.random_miss_curve: a miss share lies between 0 and 1",
    ],
    "a curve of triples": [
        "bad.yaml:11:11: clock.scalar: a curve is a mapping x: y or a list of [x, y] pairs",
    ],
    "an empty curve": [
        "bad.yaml:11:11: clock.scalar: a curve has 1 to 256 points, got 0",
    ],
    "bf16 products without the instruction": [
        "bad.yaml:24:25: core.vector.dot_bf16_per_cycle: needs avx512_bf16 or bf16 in isa, got 1",
    ],
    "neon beside avx": [
        "bad.yaml:9:6: isa: neon and avx do not go together, got avx2, avx512, avx512_vnni, neon",
    ],
    "instruction sets as text": [
        "bad.yaml:9:6: isa: must be a list in brackets, e.g. [avx2, avx512], got 'avx2'",
    ],
    "an instruction set twice": [
        "bad.yaml:9:6: isa: 'avx2' is given twice",
    ],
    "no name": [
        "bad.yaml:5:6: name: must be text, got nothing",
    ],
    "a number for a name": [
        "bad.yaml:5:7: name: must be text, got 8380",
    ],
    "a required section of nothing": [
        "bad.yaml:3:11: software: a section of fields is needed here, got nothing",
    ],
    "an interval in per cent without the sign": [
        "bad.yaml:26:37: caches.L1.size.interval: an interval is a share of the value, at most 1 (5 % or 0.05), got 5",
    ],
    "abstract": [
        "bad.yaml:3:11: abstract: this is a base for other specs, not a machine",
    ],
    "abstract that is no truth value": [
        "bad.yaml:3:11: abstract: must be true or false, got 'maybe'",
    ],
    "a tab": [
        "bad.yaml:26:1: not YAML: indentation must be spaces, not tabs",
    ],
    "too deep": [
        "bad.yaml:5:38: nesting may be at most 32 deep",
    ],
    "core bandwidth above the peak": [
        "bad.yaml:59:19: memory.core_bandwidth: cannot exceed memory.bandwidth, 307.2 GB/s here, got 400 GB/s",
    ],
    "faults of three kinds": [
        "bad.yaml:27:11: caches.L1.ways: '010' would be octal 8 in YAML 1.1: write 10 or '010'",
        "bad.yaml:34:14: caches.L2.latency: unknown unit 'cyclse' (did you mean cycle?), e.g. '14 cycles' or '33 ns'",
        "bad.yaml:51:1: memory.channels: missing",
        "bad.yaml:53:3: memory.chanels: unknown key (did you mean 'channels'?)",
    ],
    "siblings with less than one thread": [
        "bad.yaml:18:31: core.smt_demand_lines_in_flight: cannot be below core.demand_lines_in_flight, which one thread alone "
        "has: 24, got 20",
    ],
    "cores closer than nothing": [
        "bad.yaml:52:17: interconnect.core_to_core: a latency must be above 0",
    ],
    "far cores nearer than near ones": [
        "bad.yaml:53:21: interconnect.core_to_core_far: cannot be shorter than core_to_core with 45 ns, got 40 ns",
    ],
    "a remote socket as near as the own one": [
        "bad.yaml:51:32: interconnect.socket_latency: must be above 0, got 0 ns",
    ],
    "sockets joined by nothing": [
        "bad.yaml:51:34: interconnect.socket_bandwidth: must be above 0, got 0 GB/s",
    ],
    "a fabric in nanoseconds": [
        "bad.yaml:51:32: interconnect.mesh_bandwidth: '5 ns' is a time, but a bandwidth is needed here",
    ],
    "an interconnect of nothing": [
        "bad.yaml:51:15: interconnect: a section of fields is needed here, got nothing",
    ],
    "a fraction of a slice": [
        "bad.yaml:41:13: caches.L3.slices: must be a whole number, got 7.5",
    ],
    "slices that cut lines": [
        "bad.yaml:41:13: caches.L3.slices: 32 MiB do not divide into slices of whole lines, got 7",
    ],
    "slices too slow for their cache": [
        "bad.yaml:42:22: caches.L3.slice_bandwidth: 8 slices deliver 320 GB/s, shared_bandwidth is 400 GB/s",
    ],
    "a fraction of a bank": [
        "bad.yaml:59:22: memory.banks_per_channel: must be a whole number, got 16.5",
    ],
    "a row that is no power of two": [
        "bad.yaml:59:13: memory.row_size: must be a power of two, at least a line of 64 B, got 6 KiB",
    ],
    "channels that alternate within a line": [
        "bad.yaml:59:15: memory.interleave: must be a power of two, at least a line of 64 B, got 32 B",
    ],
    "row cycles without rows": [
        "bad.yaml:60:14: memory.row_cycle: a row cycle has no meaning without memory.row_size",
    ],
    "loaded memory faster than idle": [
        "bad.yaml:59:19: memory.loaded_latency: a multiple of the idle latency is at least 1",
    ],
    "latency that falls under load": [
        "bad.yaml:59:19: memory.loaded_latency: latency never falls as the load grows",
    ],
    "a load above the bandwidth": [
        "bad.yaml:59:19: memory.loaded_latency: the x is a share of memory.read_bandwidth, at most 1, got a point at 1.2",
    ],
    "a list": [
        "bad.yaml:1:1: a spec is a mapping of fields, got a list",
    ],
    "empty": [
        "bad.yaml: the file is empty",
    ],
}

EXPECTED_SETTINGS = [
    "--set caches.L2.size=4MHz: '4MHz' is a frequency, but a size is needed here",
    "--set caches.L2.sise=4MiB: caches.L2 has no field 'sise' (did you mean 'caches.L2.size'?)",
    "--set caches.L2=4MiB: caches.L2 is a section; set a field of it, e.g. caches.L2.size, caches.L2.ways, caches.L2.latency",
    "--set cache.L2.size=4MiB: a spec has no field 'cache' (did you mean 'caches.L2.size'?)",
    "--set caches.L2.size.bytes=4: caches.L2.size is a value and has no fields",
    "--set isa=avx2: isa cannot be set from the command line; write a spec with 'base:'",
    "--set caches.L3.cores_per_instance=64: caches.L3.cores_per_instance: the socket has 8 cores, got 64",
    "--set memory.latency=1 ns: memory.latency: latency must rise outwards: L3 has 20 ns, got 1 ns",
    "--set status=shiping: must be one of shipping, announced, hypothetical, detected, calibrated, got 'shiping' (did you mean 'shipping'?)",
    "--set caches.L2.size=0 B: must be above 0, got 0 B",
    "--set caches.L1.size=64 KiB: caches.L1.size: must be a multiple of ways x line = 768 B, got 64 KiB",
    (
        "good.yaml:1:1: caches.L4.bandwidth: missing\n"
        "good.yaml:1:1: caches.L4.latency: missing\n"
        "good.yaml:1:1: caches.L4.ways: missing"
    ),
    "--set memory.channels=0: must be at least 1, got 0",
    "--set memory.channels=nan: a number is needed here, got 'nan'",
    "--set memory.channels=9.5: memory.channels: must be a whole number, got 9.5",
    "--set memory.bandwidth=1 TB/s: memory.bandwidth: must be channels x transfer_rate x channel_width = 307.2 GB/s, got 1000 GB/s",
    "good.yaml:39:25: caches.L3.cores_per_instance: the socket has 4 cores, got 8",
    "--set name=: must be text, got nothing",
    "--set =3: a spec has no field ''",
    "--set provenance=measured: a spec has no field 'provenance'",
    "--set year=1066: must be at least 2000, got 1066",
    (
        "--set caches.L2.sise=4MiB: caches.L2 has no field 'sise' (did you mean 'caches.L2.size'?)\n"
        "--set memory.latncy=1 ns: memory has no field 'latncy' (did you mean 'memory.latency'?)"
    ),
]


@pytest.mark.parametrize("name", CASES)
def test_a_broken_spec_says_where_and_why(name: str) -> None:
    assert messages(CASES[name]).splitlines() == EXPECTED[name]


@pytest.mark.parametrize(("settings", "message"), list(zip(SETTINGS, EXPECTED_SETTINGS, strict=True)))
def test_a_broken_override_says_which_and_why(settings: dict[str, str], message: str) -> None:
    assert setting_messages(settings) == message
