"""Trace readers: round trips, chunks, formats told by content, and every refusal word for word."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.tracechampsim import RECORD
from simulator.tracechunk import FETCH, LOAD, STORE, TraceChunk, TraceFileError
from simulator.tracefile import TraceFile, read_trace
from simulator.tracelackey import read_lackey
from simulator.tracenpz import read_npz, write_npz

COMPRESS = {"raw": bytes, "gz": gzip.compress, "xz": lzma.compress}
LACKEY = (
    b"==7== Lackey\n==7== \nI  04001000,3\n L 1ffeffe7e0,8\n\n--7-- note\n S 1ffeffe7d8,16\r\n M 0421c7cc,4\n**7** x\n"
)


def gathered(path: Path, form: Any = None) -> TraceChunk:
    """All chunks of a file as one."""
    chunks = list(read_trace(path, form))
    arrays = [np.concatenate([getattr(c, name) for c in chunks]) for name in ("addresses", "sizes", "kinds")]
    cores, streams = (
        None if getattr(chunks[0], name) is None else np.concatenate([getattr(c, name) for c in chunks])
        for name in ("cores", "streams")
    )
    return TraceChunk(*arrays, cores, streams, sum(c.modifies for c in chunks))  # type: ignore[arg-type]


def refused(path: Path, form: Any = None) -> str:
    """The message of a file that cannot be read, without its folder."""
    with pytest.raises(TraceFileError) as caught:
        list(read_trace(path, form))
    return str(caught.value).replace(str(path), path.name)


def champsim(*instructions: tuple[int, tuple[int, ...], tuple[int, ...]]) -> bytes:
    """Records of (ip, loads, stores)."""
    records = np.zeros(len(instructions), dtype=RECORD)
    for record, (ip, loads, stores) in zip(records, instructions, strict=True):
        record["ip"] = ip
        record["source_memory"][: len(loads)] = loads
        record["destination_memory"][: len(stores)] = stores
    return records.tobytes()


@pytest.mark.parametrize("kind", COMPRESS)
def test_lackey_lines_become_accesses_and_a_modify_two(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(COMPRESS[kind](LACKEY))
    found = gathered(path)
    assert found.addresses.tolist() == [0x4001000, 0x1FFEFFE7E0, 0x1FFEFFE7D8, 0x421C7CC, 0x421C7CC]
    assert found.sizes.tolist() == [3, 8, 16, 4, 4]
    assert found.kinds.tolist() == [FETCH, LOAD, STORE, LOAD, STORE]
    assert found.modifies == 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["I  ", " L ", " S ", " M "]), st.integers(0, 2**64 - 1), st.integers(1, 65536))
    ),
    st.integers(1, 40),
)
def test_any_lackey_text_is_read_alike_in_blocks_of_any_size(lines: list[tuple[str, int, int]], block: int) -> None:
    lines = [(mark, min(address, 2**64 - size), size) for mark, address, size in lines]
    text = "".join(f"{mark}{address:08x},{size}\n" for mark, address, size in lines).encode()

    class Pieces(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(block)

    chunks = list(read_lackey(Path("x"), Pieces(text)))
    expected = []
    for mark, address, size in lines:
        kinds = {"I  ": [FETCH], " L ": [LOAD], " S ": [STORE], " M ": [LOAD, STORE]}[mark]
        expected += [(address, size, kind) for kind in kinds]
    found = [row for c in chunks for row in zip(c.addresses.tolist(), c.sizes.tolist(), c.kinds.tolist(), strict=True)]
    assert found == expected
    assert sum(c.modifies for c in chunks) == sum(mark == " M " for mark, _, _ in lines)


GOOD_LINE = re.compile(rb"(I | [LSM]) ([0-9a-fA-F]{1,16}),([0-9]+)\r?|([=*-])\4[0-9]+\4\4.*|\r?", re.DOTALL)


MARKS = (b"==1==", b"--22--", b"=", b"-", b"I", b"L", b"0", b"fffffffff", b",", b"9", b"x", b"\r", b" ", b"\n", b"\n")
PIECES = (*MARKS, b"I  04,4", b" L 0f,8", b" M 7,1")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_any_bytes_are_read_or_refused_as_a_pattern_says(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    expected, wrong = 0, 0
    lines = text.split(b"\n")
    for number, line in enumerate(lines, start=1):
        found = GOOD_LINE.fullmatch(line)
        last = number == len(lines)
        if last and not line:
            break
        address, size = (int(found[2], 16), int(found[3])) if found and found[1] else (0, 1)
        if last or not found or not 1 <= size <= 65536 or address + size > 2**64:
            wrong = number
            break
        expected += 0 if found[1] is None else 2 if found[1] == b" M" else 1
    count = 0
    try:
        for chunk in read_lackey(Path("x"), io.BytesIO(text)):
            count += len(chunk)
    except TraceFileError as error:
        refusal = str(error)
    else:
        refusal = "x:0: "
    assert refusal.startswith(f"x:{wrong}: ")
    assert count == expected


BAD_LINES = {
    b"hello\n": "a line begins with 'I  ', ' L ', ' S ' or ' M ' (or ==pid==); record with --log-file to keep the program's"
                " output apart, got 'hello'",
    b" X 04,3\n": "a line begins with 'I  ', ' L ', ' S ' or ' M ' (or ==pid==); record with --log-file to keep the program's"
                  " output apart, got ' X 04,3'",
    b"I 04,3\n": "a line begins with 'I  ', ' L ', ' S ' or ' M ' (or ==pid==); record with --log-file to keep the program's"
                 " output apart, got 'I 04,3'",
    b"==x==\n": "a line begins with 'I  ', ' L ', ' S ' or ' M ' (or ==pid==); record with --log-file to keep the program's"
                " output apart, got '==x=='",
    b" L ,3\n": "an address of 1 to 16 hexadecimal digits is needed, got ' L ,3'",
    b" L 00000000000000001,3\n": "an address of 1 to 16 hexadecimal digits is needed, got ' L 00000000000000001,3'",
    b" L 04001000\n": "a comma and a size in bytes are needed after the address, got ' L 04001000'",
    b" L 04001000,\n": "a comma and a size in bytes are needed after the address, got ' L 04001000,'",
    b" L 040g,4\n": "a comma and a size in bytes are needed after the address, got ' L 040g,4'",
    b" S 04001000,0\n": "a size must lie between 1 and 65536 bytes, got ' S 04001000,0'",
    b" S 04001000,99999999999999999999999\n": "a size must lie between 1 and 65536 bytes, got"
                                              " ' S 04001000,99999999999999999999999'",
    b" S ffffffffffffffff,2\n": "the access runs beyond the last address, got ' S ffffffffffffffff,2'",
    b" S 04001000,8 x\n": "nothing may follow the size, got ' S 04001000,8 x'",
}  # fmt: skip


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_wrong_lackey_line_is_named_with_its_number_and_rule(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"==1== Lackey\n\nI  04001000,3\n" + line + b" L 04,4\n")
    assert refused(path) == f"t.txt:4: {BAD_LINES[line]}"


def test_what_came_before_a_fault_is_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"I  04001000,3\n L 04,4\nbad\n")
    chunks = read_trace(path)
    assert len(next(chunks)) == 2
    with pytest.raises(TraceFileError, match=":3: "):
        next(chunks)


def test_champsim_records_become_fetch_loads_and_stores(tmp_path: Path) -> None:
    path = tmp_path / "x.champsimtrace.xz"
    path.write_bytes(lzma.compress(champsim((0x400, (7, 9), (11,)), (0x404, (), ()), (0x408, (), (13, 15)))))
    found = gathered(path)
    assert found.addresses.tolist() == [0x400, 7, 9, 11, 0x404, 0x408, 13, 15]
    assert found.kinds.tolist() == [FETCH, LOAD, LOAD, STORE, FETCH, FETCH, STORE, STORE]
    assert set(found.sizes.tolist()) == {1}


def test_a_long_champsim_trace_comes_in_chunks(tmp_path: Path) -> None:
    records = np.zeros(400_000, dtype=RECORD)
    records["ip"], records["source_memory"][:, 2] = np.arange(1, 400_001), 5
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(records.tobytes(), 1))
    chunks = list(read_trace(path))
    assert len(chunks) > 2
    assert np.array_equal(np.concatenate([c.addresses[c.kinds == FETCH] for c in chunks]), records["ip"])
    assert sum(np.count_nonzero(c.kinds == LOAD) for c in chunks) == 400_000


def test_champsim_faults_name_the_record(tmp_path: Path) -> None:
    path, whole = tmp_path / "t", champsim(*[(4 * k, (), ()) for k in range(5)])
    path.write_bytes(whole[:-1])
    assert refused(path) == "t: record 4: it has 63 of 64 bytes: the file is truncated, or no ChampSim trace"
    path.write_bytes(whole[: 64 * 3 + 8] + b"\x02" + whole[64 * 3 + 9 :])
    assert refused(path) == "t: record 3: is_branch must be 0 or 1, got 2: no ChampSim trace, or a damaged one"
    path.write_bytes(LACKEY)
    assert refused(path, "champsim").startswith("t: record 0: is_branch must be 0 or 1, got ")


accesses = st.lists(
    st.tuples(st.integers(0, 2**64 - 70000), st.integers(1, 65536), st.sampled_from([LOAD, STORE, FETCH]),
              st.integers(0, 4095), st.integers(0, 63)),
    min_size=1, max_size=50)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(accesses, st.booleans(), st.booleans())
def test_npz_gives_back_what_was_written(rows: list[tuple[int, ...]], cores: bool, streams: bool) -> None:
    columns = list(zip(*rows, strict=True))
    chunk = TraceChunk(np.array(columns[0], dtype=np.uint64), np.array(columns[1]), np.array(columns[2], dtype=np.uint8),
                       np.array(columns[3]) if cores else None, np.array(columns[4]) if streams else None)  # fmt: skip
    buffer = io.BytesIO()
    assert write_npz(buffer, [chunk, chunk]) == 2 * len(rows)
    back = list(read_npz(buffer))  # type: ignore[arg-type]
    for name in ("addresses", "sizes", "kinds"):
        assert np.array_equal(np.concatenate([getattr(c, name) for c in back]), np.tile(getattr(chunk, name), 2))
    for name, given_ in (("cores", cores), ("streams", streams)):
        found, written = getattr(back[0], name), getattr(chunk, name)
        assert (found is None) == (not given_ or not np.any(written))
        assert found is None or np.array_equal(found, np.tile(written, 2))


def test_npz_of_numpy_itself_with_scalars(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "t.npz", format=1, addresses=np.arange(3, dtype=np.uint64), sizes=4, cores=np.uint8(2))
        found = gathered(tmp_path / "t.npz")
        assert (found.sizes.tolist(), found.cores.tolist()) == ([4] * 3, [2] * 3)  # type: ignore[union-attr]
        assert found.streams is None
        assert found.kinds.tolist() == [LOAD] * 3


A = np.arange(4, dtype=np.uint64)
BAD_NPZ: dict[str, tuple[dict[str, Any], str]] = {
    "no format": ({"addresses": A}, "array 'format' is missing"),
    "no addresses": ({"format": 1}, "array 'addresses' is missing"),
    "format": ({"format": 2, "addresses": A}, "format: must be the number 1"),
    "unknown": ({"format": 1, "addresses": A, "write": A},
                "write: unknown array; a trace has format, addresses, writes, fetches, sizes, cores, streams"),
    "signed": ({"format": 1, "addresses": A.astype(np.int64)}, "addresses: uint64 are needed, got int64"),
    "objects": ({"format": 1, "addresses": A, "sizes": np.array([1, None, 2, 3], dtype=object)},
                "sizes: integers are needed, got object"),
    "flags": ({"format": 1, "addresses": A, "writes": A}, "writes: bool are needed, got uint64"),
    "shape": ({"format": 1, "addresses": A, "writes": np.zeros(3, bool)}, "writes: shape (3,), but there are 4 addresses"),
    "matrix": ({"format": 1, "addresses": A.reshape(2, 2)}, "addresses: one dimension is needed, got 2"),
    "size": ({"format": 1, "addresses": A, "sizes": np.array([8, 8, 0, 8])},
             "record 2: sizes must lie between 1 and 65536, got 0"),
    "scalar size": ({"format": 1, "addresses": A, "sizes": -1}, "sizes must lie between 1 and 65536, got -1"),
    "core": ({"format": 1, "addresses": A, "cores": np.array([0, 0, 0, 5000])},
             "record 3: cores must lie between 0 and 4095, got 5000"),
    "stream": ({"format": 1, "addresses": A, "streams": 64}, "streams must lie between 0 and 63, got 64"),
    "both": ({"format": 1, "addresses": A, "writes": A > 2, "fetches": A > 2},
             "record 3: an access cannot be store and fetch at once"),
    "end": ({"format": 1, "addresses": A - np.uint64(2)}, "record 0: the access runs beyond the last address"),
    "nothing": ({"format": 1, "addresses": A[:0]}, "no access in it"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_NPZ)
def test_npz_faults_name_array_record_and_rule(name: str, tmp_path: Path) -> None:
    arrays, message = BAD_NPZ[name]
    np.savez(tmp_path / "t.npz", **arrays)
    assert refused(tmp_path / "t.npz") == f"t.npz: {message}"


def test_truncated_and_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(LACKEY[:-2])
    assert refused(path) == "t:9: the last line has no end: the file is truncated"
    lines = b"".join(b" L %08x,8\n" % (k * 7919) for k in range(20_000))
    for whole in (gzip.compress(lines), lzma.compress(lines)):
        path.write_bytes(whole[:-20])
        assert refused(path) == "t: the compressed data end early: the file is truncated"
        path.write_bytes(whole[:50] + b"\xff\x00\xff" + whole[53:])
        assert refused(path).startswith("t: the compressed data are damaged: ")
    np.savez(path.with_suffix(".npz"), format=1, addresses=np.arange(5000, dtype=np.uint64))
    path.write_bytes(path.with_suffix(".npz").read_bytes()[:-100])
    assert refused(path).startswith("t: no NPZ archive, or a truncated one: ")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("format.npy", b"nonsense")
        archive.writestr("addresses.npy", b"nonsense")
    assert refused(path).startswith("t: format: no NumPy array: ") or refused(path).startswith(
        "t: addresses: no NumPy array"
    )
    path.write_bytes(b"")
    assert refused(path) == "t: the file is empty"
    path.write_bytes(gzip.compress(b""))
    assert refused(path) == "t: the file is empty"
    path.write_bytes(b"==1== Lackey\n")
    assert refused(path) == "t: no access in it"
    path.write_bytes(b" L" + b"0" * (1 << 23))
    assert refused(path) == "t:1: a line of more than 4194304 bytes"
    assert refused(tmp_path / "none") == "none: no such file"
    assert refused(tmp_path).endswith(": cannot be read: Is a directory")


def test_formats_are_told_by_content_and_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "anything.dat"
    for content, form in ((LACKEY, "lackey"), (champsim((64, (128,), ())), "champsim")):
        path.write_bytes(content)
        trace = TraceFile(path)
        list(trace.chunks())
        assert trace.format == form
        assert refused(path, "npz") == f"anything.dat: by its first bytes it is {form}, not npz"
    np.savez(tmp_path / "x.npz", format=1, addresses=A)
    trace = TraceFile(tmp_path / "x.npz")
    assert sum(map(len, trace.chunks())) == 4
    assert trace.format == "npz"
    assert refused(tmp_path / "x.npz", "lackey") == "x.npz: by its first bytes it is npz, not lackey"


def test_a_trace_comes_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(LACKEY * 1000,))
    writer.start()
    assert len(gathered(pipe)) == 5000
    writer.join()
