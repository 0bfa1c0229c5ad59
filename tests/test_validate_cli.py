"""`python -m validate`: quick help, and for every file or folder that cannot be used one line and an exit code."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from simulator.cli_common import Failure
from tests.validatecases import FIRST, campaign
from validate import commands
from validate.__main__ import validate


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -m validate ARGUMENTS` as a process."""
    command = [sys.executable, "-m", "validate", *arguments]
    return subprocess.run(
        command, text=True, timeout=100, stderr=subprocess.PIPE, **{"stdout": subprocess.PIPE, **options}
    )


def invoke(*arguments: str | Path) -> Result:
    """The same in this process; what is no expected fault is let through."""
    return CliRunner().invoke(validate, list(map(str, arguments)), catch_exceptions=False)


def message_of(ended: Result) -> str:
    """The one line of a command that failed."""
    assert ended.exit_code == 1
    (line,) = ended.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", [[], ["check"], ["calibrate"], ["detect"], ["measure"], ["report"]])
def test_every_command_says_what_it_is_for(command: list[str]) -> None:
    ended = invoke(*command, "--help")
    assert ended.exit_code == 0
    assert ended.stdout.startswith("Usage:")


def test_help_needs_no_array_library() -> None:
    probe = "import sys, validate.__main__; print(sorted({'numpy', 'scipy', 'rich', 'pydantic', 'yaml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout.strip() == "[]"
    ended = run("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "calibrate" in ended.stdout


def test_an_unknown_file_is_one_line_of_a_whole_process(tmp_path: Path) -> None:
    path = tmp_path / "no.jsonl"
    ended = run("check", str(path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"check: {path}: cannot be read: No such file or directory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        ended = run("--help", stdout=full)
    assert (ended.returncode, ended.stderr) == (1, "validate: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "-1"], ["--max-error", "0"], ["measure", "--seed", "x"], ["sort"], ["calibrate"], ["check", "."],
        ["report", "a", "b"], ["--output", sys.executable], ["--quick", "detect"], ["--json", "x.json", "check"],
        ["check", "c.jsonl", "--recorded"], ["check", "--recorded", "--workload", "w.yaml"], ["check", "--recorded", "--again"],
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line_end_with_2(arguments: list[str]) -> None:
    ended = invoke(*arguments)
    assert ended.exit_code == 2
    assert "Error: " in ended.stderr


def cut(data: bytes) -> bytes:
    return data[:-9]


def edited(data: bytes) -> bytes:
    return data.replace(b'"n":0', b'"n":1')


NOT_ENDED = "3: the campaign did not come to its end; 'python -m validate measure' goes on with it"
FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (cut, "4: the line has no end: the file is truncated"),
    "edited": (edited, "2: crc: does not fit the line; measurements are not edited"),
    "not ended": (lambda d: b"".join(d.splitlines(keepends=True)[:-1]), NOT_ENDED),
    "empty": (lambda d: b"", "1: empty; a campaign begins with its settings"),
    "a table": (lambda d: b"batch,seconds\n1,2\n", "1: not JSON; was the file truncated or edited?"),
    "no text": (lambda d: b"\xff\n" + d, " not a text file (byte 0)"),
}


def broken(path: Path, name: str) -> tuple[Path, str]:
    change, message = FILES[name]
    campaign(path, [{"record": "row", "n": 0}, {"record": "row", "n": 5}])
    path.write_bytes(change(path.read_bytes()))
    return path, f"{path}:{message}"


@pytest.mark.parametrize("command", ["check", "report"])
@pytest.mark.parametrize("name", FILES)
def test_a_broken_campaign_is_one_line_that_names_it(name: str, command: str, tmp_path: Path) -> None:
    path, message = broken(tmp_path / "c.jsonl", name)
    assert message_of(invoke(command, path)) == f"{command}: {message}"


@pytest.mark.parametrize("name", ["edited", "empty", "a table", "no text"])
def test_a_broken_campaign_calibrates_nothing(name: str, tmp_path: Path) -> None:
    path, message = broken(tmp_path / "c.jsonl", name)
    assert message_of(invoke("calibrate", path, "--spec", tmp_path / "x.yaml")) == f"calibrate: {message}"
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize("command", ["check", "calibrate"])
def test_a_campaign_without_microbenchmarks_is_one_line(command: str, tmp_path: Path) -> None:
    path = campaign(tmp_path / "c.jsonl")
    assert message_of(invoke(command, path)) == f"{command}: no pass of the microbenchmarks was finished"


@pytest.mark.parametrize("command", ["check", "report"])
@pytest.mark.parametrize("there", [False, True])
def test_a_folder_without_campaigns_says_what_makes_one(command: str, there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "validation"
    if there:
        folder.mkdir()
        (folder / "report.md").write_text("")
    expected = f"{folder}: no campaign here; 'python -m validate measure' makes one"
    assert message_of(invoke(command, "--output", folder)) == expected


def test_the_newest_campaign_of_a_folder_is_taken(tmp_path: Path) -> None:
    for age, name in ((50, "b"), (10, "a"), (90, "c")):
        os.utime(campaign(tmp_path / f"{name}.jsonl"), (1e9 - age, 1e9 - age))
    assert commands.newest(tmp_path) == tmp_path / "a.jsonl"


def test_no_recorded_campaigns_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "RECORDED", tmp_path)
    assert message_of(invoke("check", "--recorded")) == f"check: {tmp_path}: no recorded campaigns"


def test_a_broken_recorded_campaign_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "RECORDED", tmp_path)
    (tmp_path / "host").mkdir()
    _, message = broken(tmp_path / "host" / "c.jsonl", "edited")
    assert message_of(invoke("check", "--recorded")) == f"check: {message}"


def nowhere(tmp_path: Path) -> Path:
    """A folder that cannot be made."""
    (tmp_path / "file").write_text("mine")
    return tmp_path / "file" / "sub"


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "checked", lambda lines: lines)
    monkeypatch.setattr(commands, "record", lambda found: {})
    folder = nowhere(tmp_path)
    ended = invoke("report", campaign(tmp_path / "c.jsonl"), "--output", folder)
    assert message_of(ended) == f"report: {folder}: Not a directory"


def test_a_spec_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from validate import calibration, freeze

    memory = SimpleNamespace(refused=(), mean_residual=0.0)
    found = SimpleNamespace(memory=memory, gemm=SimpleNamespace(refused=()))
    monkeypatch.setattr(calibration, "calibrated", lambda lines: found)
    monkeypatch.setattr(freeze, "parameters", lambda found: [])
    monkeypatch.setattr(freeze, "spec_text", lambda found, lines: "")
    path, folder = campaign(tmp_path / "c.jsonl"), nowhere(tmp_path)
    ended = invoke("calibrate", path, "--spec", folder / "x.yaml")
    assert message_of(ended) == f"calibrate: {folder}: Not a directory"
    assert invoke("calibrate", path, "--spec", tmp_path / "new" / "x.yaml").exit_code == 0
    assert (tmp_path / "new" / "x.yaml").is_file()


@pytest.mark.parametrize(
    ("allowed", "fails"), [(None, False), (0.12, False), (0.13, False), (0.11, True), (math.nan, True)]
)
def test_an_error_above_what_is_allowed_ends_with_1(allowed: float | None, fails: bool) -> None:
    found = {"errors": {"mean_abs_error": 0.12}}
    if not fails:
        commands.judge(found, allowed)
        return
    with pytest.raises(Failure, match=r"mean absolute error 12\.0% is above --max-error") as caught:
        commands.judge(found, allowed)
    assert caught.value.exit_code == 1


def test_no_points_are_no_error() -> None:
    assert commands.judge({"errors": {"points": 0}}, 0.01) is None  # type: ignore[func-returns-value]


def test_faults_of_the_program_are_not_hidden() -> None:
    with pytest.raises(KeyError), commands.faults("check"):
        _ = FIRST["no such field"]


def test_detect_needs_no_compiler(tmp_path: Path) -> None:
    ended = run("detect", env={**os.environ, "CXX": "/nonexistent", "XDG_CACHE_HOME": str(tmp_path)})
    if ended.stderr.startswith("detect: ") and ended.returncode:
        pytest.skip("no host to observe")
    assert ended.returncode == 0
    assert "clock_hz: not measured\n" in ended.stdout
    (line,) = ended.stderr.splitlines()
    assert line.startswith("detect: the clock and large pages are not measured: ")
    assert line.count("$CXX is '/nonexistent'") == 1


def test_detect_says_whether_there_is_a_calibrated_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.host import HostError, observe
    from kernels.library import runnable
    from validate import hostfacts

    try:
        host = hostfacts.host_id({**FIRST["host"], "processor": observe().model_name})
    except HostError:
        pytest.skip("no host to observe")
    if not runnable("peak"):
        pytest.skip("no kernel runs here")
    monkeypatch.setattr(hostfacts, "host_id", lambda facts: host)
    monkeypatch.setattr(hostfacts, "LIBRARIES", ())
    monkeypatch.setattr(commands, "CALIBRATED", tmp_path)
    assert "calibrated spec: none yet\n" in invoke("detect").stdout
    (tmp_path / f"{host}.yaml").write_text("")
    assert f"calibrated spec: {tmp_path / host}.yaml\n" in invoke("detect").stdout
