"""The campaign's file: what is written is read back, what was changed is told, and no kill or full disk costs a line."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from validate.journal import FORMAT, Journal, JournalError, is_unfinished, read

ROWS: list[dict[str, Any]] = [
    {"record": "row", "n": 0, "seconds": [1.5e-6, 0.1 + 0.2]},
    {"record": "row", "n": 1, "text": 'größer, "crc":1} \u2028\n'},
    {"record": "row", "n": 2, "within": {"a": None, "crc": 5}},
    {"record": "end"},
]


def written(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    journal = Journal.new(path, {"seed": 7})
    for row in rows:
        journal.add(row)
    journal.close()
    return path


def sealed(body: str) -> bytes:
    """A line with the checksum of what is before it."""
    return f'{body},"crc":{zlib.crc32(body.encode())}}}\n'.encode()


def error_of(act: Callable[[], object]) -> str:
    with pytest.raises(JournalError) as caught:
        act()
    return str(caught.value)


def test_lines_come_back_as_they_were(tmp_path: Path) -> None:
    found = read(written(tmp_path / "new" / "c.jsonl"))
    first = {"line": 1, "record": "campaign", "format": FORMAT, "seed": 7}
    assert found == [first, *({"line": n, **row} for n, row in enumerate(ROWS, 2))]


def test_an_open_campaign_holds_what_its_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    journal = Journal.new(path, {"seed": 7})
    journal.add({"record": "row", "pair": (1, 2)})
    journal.add({"record": "other"})
    assert journal.lines == read(path, unfinished=True)
    assert [line["line"] for line in journal.of("row")] == [2]
    assert journal.of("none") == []


def test_every_line_is_ascii_json_with_its_number_first_and_its_checksum_last(tmp_path: Path) -> None:
    lines = written(tmp_path / "c.jsonl").read_bytes().decode("ascii").splitlines(keepends=True)
    assert len(lines) == 5
    for number, line in enumerate(lines, 1):
        body = line.rpartition(',"crc":')[0]
        assert body.startswith(f'{{"line":{number},"record":')
        assert sealed(body).decode() == line


def lines_of(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def without(data: bytes, place: int) -> bytes:
    lines = lines_of(data)
    return b"".join(lines[:place] + lines[place + 1 :])


def doubled(data: bytes) -> bytes:
    lines = lines_of(data)
    return b"".join([*lines[:2], lines[1], *lines[2:]])


def swapped(data: bytes) -> bytes:
    lines = lines_of(data)
    return b"".join([lines[0], lines[2], lines[1], *lines[3:]])


CRC = "crc: does not fit the line; measurements are not edited"
NO_LINE = "no line of a campaign: it needs line, record and crc"
NO_JSON = "not JSON; was the file truncated or edited?"
FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a digit": (lambda d: d.replace(b"1.5e-06", b"1.4e-06"), f"2: {CRC}"),
    "a blank": (lambda d: d.replace(b'"n":0,', b'"n": 0,'), f"2: {CRC}"),
    "the checksum": (lambda d: d.replace(b'"n":0,', b'"n":0,"crc":1,'), f"2: {CRC}"),
    "after the checksum": (lambda d: lines_of(d)[0][:-2] + b',"seed":8}\n' + without(d, 0), f"1: {CRC}"),
    "no checksum": (lambda d: b'{"line":1,"record":"campaign"}\n' + without(d, 0), f"1: {NO_LINE}"),
    "the first line removed": (lambda d: without(d, 0), "1: line: must be 1, got 2; was a line removed or doubled?"),
    "a line removed": (lambda d: without(d, 2), "3: line: must be 3, got 4; was a line removed or doubled?"),
    "a line doubled": (doubled, "3: line: must be 3, got 2; was a line removed or doubled?"),
    "lines swapped": (swapped, "2: line: must be 2, got 3; was a line removed or doubled?"),
    "a line joined to the next": (lambda d: d.replace(b"}\n", b"}", 1), f"1: {NO_JSON}"),
    "a blank line": (lambda d: d.replace(b"\n", b"\n\n", 1), f"2: {NO_JSON}"),
    "cut in a line": (lambda d: d[: d.index(b"1.5e-06")], "2: the line has no end: the file is truncated"),
    "cut at the end": (lambda d: d[:-1], "5: the line has no end: the file is truncated"),
    "cut between lines": (
        lambda d: without(d, 4),
        "4: the campaign did not come to its end; 'python -m validate measure' goes on with it",
    ),
    "empty": (lambda d: b"", "1: empty; a campaign begins with its settings"),
    "a list": (lambda d: b"[1]\n", f"1: {NO_LINE}"),
    "no JSON": (lambda d: b"host,seconds\n", f"1: {NO_JSON}"),
    "deep JSON": (lambda d: b"[" * 100_000 + b"\n", f"1: {NO_JSON}"),
    "another format": (
        lambda d: sealed('{"line":1,"record":"campaign","format":"lookupsim-campaign 9"') + without(d, 0),
        f"1: format: must be '{FORMAT}', got 'lookupsim-campaign 9'",
    ),
    "no format": (
        lambda d: sealed('{"line":1,"record":"end"'),
        f"1: format: must be '{FORMAT}', got None",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_does_not_fit_is_told_by_line_and_rule(name: str, tmp_path: Path) -> None:
    change, message = FAULTS[name]
    path = written(tmp_path / "c.jsonl")
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    assert error_of(lambda: read(path)) == f"{path}:{message}"


def test_what_is_no_text_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"line":1,\xff')
    assert error_of(lambda: read(path)) == f"{path}: not a text file (byte 10)"
    assert error_of(lambda: read(tmp_path)) == f"{tmp_path}: cannot be read: Is a directory"
    assert error_of(lambda: read(tmp_path / "no")) == f"{tmp_path / 'no'}: cannot be read: No such file or directory"


def test_an_unfinished_campaign_is_told_from_a_finished_and_from_a_broken_one(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl")
    whole = path.read_bytes()
    assert not is_unfinished(path)
    path.write_bytes(whole[:-5])
    assert is_unfinished(path)
    path.write_bytes(without(whole, 1))
    assert "was a line removed" in error_of(lambda: is_unfinished(path))


def test_wherever_the_last_line_is_cut_it_alone_is_lost(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", ROWS[:2])
    whole = path.read_bytes()
    kept = len(b"".join(lines_of(whole)[:2]))
    for size in range(kept, len(whole)):
        path.write_bytes(whole[:size])
        journal = Journal.resumed(path)
        assert path.read_bytes() == whole[:kept]
        assert [line["line"] for line in journal.lines] == [1, 2]
        if size in (kept, kept + 1, len(whole) - 1):
            journal.add(ROWS[1])
            assert path.read_bytes() == whole
        journal.close()


def test_two_runs_never_add_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    for begun in (True, False):
        first = Journal.new(path, {}) if begun else Journal.resumed(path)
        first.add(ROWS[0])
        with path.open("ab") as half_a_line:
            half_a_line.write(b'{"line":')
        before = path.read_bytes()
        assert error_of(lambda: Journal.resumed(path)).startswith(f"{path}: another run is adding to it")
        assert path.read_bytes() == before
        first.close()
    Journal.resumed(path).close()
    assert [line.get("n") for line in read(path, unfinished=True)] == [None, 0, 0]


@pytest.mark.parametrize("name", ["a digit", "a line removed", "a line doubled", "another format", "empty"])
def test_nothing_broken_goes_on(name: str, tmp_path: Path) -> None:
    change, message = FAULTS[name]
    path = written(tmp_path / "c.jsonl")
    broken = change(path.read_bytes())
    path.write_bytes(broken)
    assert error_of(lambda: Journal.resumed(path)) == f"{path}:{message}"
    assert path.read_bytes() == broken


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl")
    before = path.read_bytes()
    assert error_of(lambda: Journal.new(path, {})) == f"{path}: exists; measurements are never overwritten"
    assert path.read_bytes() == before


@pytest.mark.parametrize(("parts", "reason"), [(("c",), "File exists"), (("sub", "c"), "Not a directory")])
def test_where_no_file_can_be_is_said(parts: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    path = tmp_path.joinpath("file", *parts)
    assert error_of(lambda: Journal.new(path, {})) == f"{path}: cannot be written: {reason}"
    assert (tmp_path / "file").read_text() == "mine"


def full(handle: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half(handle: int, data: bytes, write: Callable[[int, bytes], int] = os.write) -> int:
    """As a disk does that is full after so many bytes."""
    return write(handle, data[: len(data) // 2])


def broken(handle: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


DISKS = [
    ("write", full, "No space left on device"),
    ("write", half, "No space left on device"),
    ("fsync", broken, "Input/output error"),
]


@pytest.mark.parametrize(("name", "instead", "reason"), DISKS)
def test_a_full_disk_costs_no_line_and_the_next_one_fits(
    name: str, instead: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.jsonl"
    journal = Journal.new(path, {})
    journal.add(ROWS[0])
    before = path.read_bytes()
    with monkeypatch.context() as disk:
        disk.setattr(os, name, instead)
        assert error_of(lambda: journal.add(ROWS[1])) == f"{path}: cannot be written: {reason}"
    assert path.read_bytes() == before
    assert len(journal.lines) == 2
    journal.add(ROWS[1])
    journal.add({"record": "end"})
    assert [line.get("n") for line in read(path)] == [None, 0, 1, None]


@pytest.mark.parametrize(("name", "instead", "reason"), DISKS)
def test_a_campaign_that_cannot_begin_leaves_no_file(
    name: str, instead: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.jsonl"
    with monkeypatch.context() as disk:
        disk.setattr(os, name, instead)
        assert error_of(lambda: Journal.new(path, {})) == f"{path}: cannot be written: {reason}"
    assert list(tmp_path.iterdir()) == []


def test_a_campaign_that_is_killed_while_it_begins_leaves_none(tmp_path: Path) -> None:
    """An empty file would be no campaign that could go on."""
    killed = "import os, signal; os.write = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n" + WRITER
    path = tmp_path / "c.jsonl"
    assert subprocess.run([sys.executable, "-c", killed, str(path)]).returncode == -signal.SIGKILL
    assert list(tmp_path.glob("*.jsonl")) == []
    Journal.new(path, {}).close()
    assert len(read(path, unfinished=True)) == 1


def test_a_file_that_was_moved_away_is_cut_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.new(tmp_path / "c.jsonl", {})
    moved = (tmp_path / "c.jsonl").rename(tmp_path / "moved.jsonl")
    before = moved.read_bytes()
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", half)
        assert "No space left on device" in error_of(lambda: journal.add(ROWS[0]))
    assert moved.read_bytes() == before


def test_no_number_that_json_lacks_is_written(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    journal = Journal.new(path, {})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        journal.add({"record": "row", "seconds": float("nan")})
    assert path.read_bytes() == before
    assert len(journal.lines) == 1


WRITER = """
import sys
from pathlib import Path
from validate.journal import Journal
path = Path(sys.argv[1])
journal = Journal.resumed(path) if path.exists() else Journal.new(path, {})
while True:
    n = len(journal.of("row"))
    journal.add({"record": "row", "n": n, "load": "x" * (n * 7919 % 300_000)})
    print(n, flush=True)
"""


def test_no_kill_loses_or_doubles_a_row(tmp_path: Path) -> None:
    """What `add` came back from is there after a SIGKILL, once; at most one row more, which was being written, is whole."""
    path = tmp_path / "c.jsonl"
    told = -1
    for rows in (1, 9, 4, 25):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(rows):
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        told = max([told, *map(int, writer.stdout.read().split())])
        assert writer.wait() == -signal.SIGKILL
        journal = Journal.resumed(path)
        found = [line["n"] for line in journal.of("row")]
        assert found == list(range(len(found)))
        assert len(found) - 1 in (told, told + 1)
        journal.close()
    journal = Journal.resumed(path)
    journal.add({"record": "end"})
    assert len(read(path)) == len(journal.of("row")) + 2
