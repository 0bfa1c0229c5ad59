"""`lookupsim spec`: tables within 80 columns, files that are whole or untouched, exit codes, no traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from simulator import cli, cli_common, specfile
from simulator.cli import lookupsim
from simulator.specfile import available_machines, load_machine
from tests.broken import VALID

CPU = "amd-epyc-9755"


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`lookupsim spec ARGUMENTS` as a process."""
    command = [sys.executable, "-m", "simulator.cli", "spec", *arguments]
    return subprocess.run(
        command, stderr=subprocess.PIPE, text=True, timeout=100, **{"stdout": subprocess.PIPE, **options}
    )


def invoke(*arguments: str) -> Any:
    """`lookupsim spec ARGUMENTS` in this process, exceptions let through."""
    return CliRunner().invoke(lookupsim, ["spec", *arguments], catch_exceptions=False)


BAD = {
    "no such command": (["shw"], 2, "No such command 'shw'"),
    "no machine": (["show"], 2, "Missing argument"),
    "one machine to compare": (["diff", CPU], 2, "Missing argument"),
    "unknown option": (["show", CPU, "--ymal"], 2, "No such option"),
    "unknown id": (["show", "amd-epyc-9756"], 1, "did you mean 'amd-epyc-9755'?"),
    "an empty id": (["show", ""], 1, "'': no machine of this name"),
    "a base": (["show", "server"], 1, "this is a base for other specs, not a machine"),
    "an unknown second id": (["diff", CPU, "zen9"], 1, "zen9: no machine of this name"),
    "no such file": (["check", "nowhere.yaml"], 1, "nowhere.yaml: no such file"),
    "a folder": (["check", "/"], 1, "this is a directory, a file is needed"),
    "json into a folder that is not there": (["list", "--json", "/no/such/x.json"], 1, "cannot be written: No such file"),
    "json over a folder": (["list", "--json", "/"], 2, "is a directory"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_command_lines(name: str) -> None:
    arguments, code, message = BAD[name]
    ended = run(*arguments)
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False), ended.stderr
    assert message in " ".join(ended.stderr.split())


def test_check_goes_on_after_a_broken_file_and_names_each(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(VALID)
    bad.write_text(VALID.replace("    ways: 12", "    wayz: 12"))
    ended = run("check", str(bad), str(good))
    assert ended.returncode == 1
    assert ended.stdout.splitlines() == [f"{bad}: broken", f"{good}: ok"]
    assert ended.stderr.splitlines() == [
        f"{bad}:25:3: caches.L1.ways: missing",
        f"{bad}:27:5: caches.L1.wayz: unknown key (did you mean 'ways'?)",
    ]


def test_warnings_are_shown_and_do_not_fail(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(VALID.replace("cores_per_instance: 8", "cores_per_instance: 3"))
    ended = run("check", str(path))
    assert ended.returncode == 0
    assert ended.stdout == f"{path}: ok, 1 warnings\n"
    assert "8 cores do not divide into instances of this many, got 3 [warning]" in ended.stderr


@pytest.mark.parametrize("name", available_machines())
def test_show_numbers_its_sources_and_fits_80_columns(name: str) -> None:
    text = invoke("show", name).output
    assert max(map(len, text.splitlines())) <= 80
    cpu = load_machine(name)
    sources = {f"{p.source} ({p.note})" if p.note else p.source for p in cpu.provenance.values()}
    listed = " ".join(text[text.rindex("[1]") :].split())
    assert f"[{len(sources)}] " in listed
    assert f"[{len(sources) + 1}] " not in listed
    for path in cpu.provenance:
        assert any(line.startswith(f"{path} ") for line in text.splitlines()), path


def test_show_json_has_base_units_and_provenance(tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    invoke("show", CPU, "--json", str(path))
    rows = {row["path"]: row for row in json.loads(path.read_text())["values"]}
    assert rows["caches.L2.size"]["value"] == 2**20
    assert rows["caches.L2.size"]["text"] == "1 MiB"
    assert set(rows["caches.L2.size"]["provenance"]) == {"kind", "source", "interval", "note"}


def test_diff_shows_ratios_and_says_when_there_is_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    ended = invoke("diff", CPU, "l2-rich-zen5", "--json", str(path))
    rows = {row["path"]: row for row in json.loads(path.read_text())["differences"]}
    assert rows["caches.L2.size"] == {"path": "caches.L2.size", "a": "1 MiB", "b": "4 MiB", "ratio": 4.0}
    assert max(map(len, ended.output.splitlines())) <= 80
    assert invoke("diff", CPU, CPU).output == f"{CPU} and {CPU} are the same machine\n"


def test_list_fits_and_shows_the_rest_when_one_spec_is_broken(tmp_path: Path, monkeypatch: Any) -> None:
    assert max(map(len, invoke("list").output.splitlines())) <= 80
    (tmp_path / "good.yaml").write_text(VALID)
    (tmp_path / "sick.yaml").write_text(VALID.replace("size: 48 KiB", "size: 48"))
    whole = {"available": available_machines, "load": load_machine}
    monkeypatch.setattr(specfile, "available_machines", lambda: whole["available"](tmp_path))
    monkeypatch.setattr(specfile, "load_machine", lambda name: whole["load"](name, folder=tmp_path))
    server = (specfile.SPEC_FOLDER / "base" / "server.yaml").read_text()
    (tmp_path / "server.yaml").write_text(server)
    ended = invoke("list", "--json", str(tmp_path / "l.json"))
    assert ended.exit_code == 1
    assert [r["id"] for r in json.loads((tmp_path / "l.json").read_text())["machines"]] == ["good"]
    assert "sick" in ended.output
    assert "caches.L1.size: a size needs a unit" in ended.output


@pytest.mark.parametrize("arguments", [("show", CPU), ("show", CPU, "--yaml"), ("list",)])
def test_a_full_disk_behind_stdout_is_one_message(arguments: tuple[str, ...]) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        ended = run(*arguments, stdout=full)
    assert ended.returncode == 1
    assert ended.stderr == "lookupsim: the output cannot be written: No space left on device\n"


def test_json_into_a_pipe_is_written_and_never_replaces_it(tmp_path: Path) -> None:
    """A device or named pipe given as --json must stay one: renaming a file over it would destroy it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    cli_common.write_json(pipe, {"a": 1})
    reader.join(10)
    assert json.loads(read[0])["a"] == 1
    assert pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_json_through_a_link_keeps_the_link_and_the_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    cli_common.write_json(link, {"a": 1})
    assert link.is_symlink()
    assert json.loads(real.read_text())["a"] == 1
    assert real.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_ends_early_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: Any, error: BaseException
) -> None:
    path = tmp_path / "out.json"
    path.write_text("precious")

    def ends(*_: Any) -> None:
        raise error

    monkeypatch.setattr(cli_common.os, "replace", ends)
    with pytest.raises((cli_common.Failure, KeyboardInterrupt)):
        cli_common.write_json(path, {"a": 1})
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_detect_prints_a_spec_or_one_message(tmp_path: Path) -> None:
    ended = run("detect")
    assert "Traceback" not in ended.stderr
    if ended.returncode:
        assert len(ended.stderr.splitlines()) == 1
        return
    path = tmp_path / "host.yaml"
    path.write_text(ended.stdout)
    assert run("check", str(path)).returncode == 0


def test_an_interrupt_ends_with_130(monkeypatch: Any) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "lookupsim", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
