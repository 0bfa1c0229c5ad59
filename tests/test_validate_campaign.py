"""How a campaign goes on, when rounds are repeated, how long it will take, and what development seeds teach of errors."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simulator.specdump import dump_machine
from simulator.specfile import load_machine, load_machine_text
from tests.validatecases import FIRST, HOST, campaign, point, result
from validate import campaign as campaigns
from validate import discrepancy, freeze, hold, progress
from validate.campaign import Campaign, thread_counts, unfinished
from validate.hold import DRIFT, MOST_REPEATED, RECENT, Effort, Reference, Timed, measure_group, one_round
from validate.journal import Journal, JournalError, read


class Timer:
    """A series of calls that takes the next of these seconds."""

    def __init__(self, seconds: Sequence[float], calls: int = 1) -> None:
        self.left, self.calls, self.asked = list(seconds), [None] * calls, []  # type: ignore[var-annotated]

    def seconds(self, repeats: int = 1) -> float:
        self.asked.append(repeats)
        return self.left.pop(0)


class Drifts(Reference):
    """A reference that drifts when it is told to."""

    def __init__(self, drifts: Sequence[bool]) -> None:
        self.left = list(drifts)

    def drifted(self) -> tuple[float, float, bool]:
        return 1.0, 3e9, self.left.pop(0)


def rounds_of(drifts: str, done: int = 0, rounds: int = 4) -> tuple[str, list[int]]:
    """('.' a round that counts, '!' one that counts although it drifted, '-' one that is repeated; their numbers)."""
    kept: list[dict[str, Any]] = []
    reference = Drifts([mark == "!" for mark in drifts])
    measure_group([], Effort(rounds, 0.0), reference, kept.append, done)
    assert reference.left == []
    marks = {(False, False): ".", (True, False): "!", (True, True): "-"}
    return "".join(marks[line["drifted"], line["repeated"]] for line in kept), [line["round"] for line in kept]


@pytest.fixture
def no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "one_round", lambda made: [1.0])


@pytest.mark.usefixtures("no_machine")
@pytest.mark.parametrize(
    ("drifts", "kept", "numbers"),
    [
        ("....", "....", [0, 1, 2, 3]),
        (".!...", ".-...", [0, 1, 1, 2, 3]),
        ("!.!.!..", "-.-.-..", [0, 0, 1, 1, 2, 2, 3]),
        ("!!!!!!!", "---!!!!", [0, 0, 0, 0, 1, 2, 3]),
    ],
)
def test_rounds_that_drift_are_repeated_but_not_for_ever(drifts: str, kept: str, numbers: list[int]) -> None:
    assert kept.count("-") <= MOST_REPEATED
    assert rounds_of(drifts) == (kept, numbers)


@pytest.mark.usefixtures("no_machine")
def test_a_group_goes_on_after_its_finished_rounds() -> None:
    assert rounds_of(".!.", done=2) == (".-.", [2, 3, 3])
    assert rounds_of("", done=4) == ("", [])


def test_a_round_times_each_point_in_turn_by_call_and_once_more_where_it_is_short() -> None:
    """The first pass of many is not counted: it finds other points' data in the caches."""
    long, short = Timer([6.0], calls=3), Timer([9.0, 1.0], calls=2)
    made = [Timed(long, 3, 0.0), Timed(short, 4, 0.0)]  # type: ignore[arg-type]
    assert one_round(made) == [2.0, 0.5]
    assert (long.asked, short.asked) == ([3], [1, 4])


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[float, float, bool]]]:
    """What a reference says that takes these seconds, one each time that it is asked, at these clocks."""

    def told(seconds: Sequence[float], hertz: Sequence[float] = ()) -> list[tuple[float, float, bool]]:
        clocks = iter(hertz or [3e9] * len(seconds))
        monkeypatch.setattr(hold, "SPIN_SECONDS", 0.0)
        monkeypatch.setattr(hold, "clock", lambda cpus, fma: next(clocks) if cpus == (0, 1) else None)
        one = object.__new__(Reference)
        one._cpus, one.seen = (0, 1), []
        one._series = Timer([s for s in seconds for _ in range(3)])  # type: ignore[assignment]
        return [one.drifted() for _ in seconds]

    return told


def test_the_reference_tells_a_slower_and_a_faster_machine(reference: Any) -> None:
    near, far = 0.9 * DRIFT, 1.1 * DRIFT
    changes = [0.0, 0.0, 0.0, near, far, 0.0, -far, -near]
    told = [False, False, False, False, True, False, True, False]
    assert [d for *_, d in reference([1.0 + c for c in changes])] == told
    assert [d for *_, d in reference([1.0] * 8, [3e9 * (1.0 + c) for c in changes])] == told


def test_cores_that_are_two_halves_of_one_for_a_while_are_told_by_their_clock(reference: Any) -> None:
    found = reference([1.0] * 6, [3e9, 3e9, 3e9, 1.5e9, 1.5e9, 3e9])
    assert found[3:] == [(1.0, 1.5e9, True), (1.0, 1.5e9, True), (1.0, 3e9, False)]


def test_the_first_rounds_have_nothing_to_drift_from(reference: Any) -> None:
    assert reference([1.0, 3.0, 9.0]) == [(1.0, 3e9, False), (3.0, 3e9, False), (9.0, 3e9, False)]


def test_a_machine_that_changed_for_good_drifts_no_longer(reference: Any) -> None:
    drifted = [d for *_, d in reference([1.0] * 30 + [1.5] * RECENT)]
    assert not any(drifted[:30])
    assert all(drifted[30 : 30 + RECENT // 2])
    assert not any(drifted[30 + RECENT // 2 + 1 :])


def test_threads_are_one_and_all() -> None:
    assert (thread_counts((3,)), thread_counts((0, 2, 5))) == ((1,), (1, 3))


def stored(folder: Path, name: str, age: int, end: bool = False) -> Path:
    path = campaign(folder / f"{name}.jsonl", end=end)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_the_newest_unfinished_campaign_of_the_host_and_mode_goes_on(tmp_path: Path) -> None:
    stored(tmp_path, "host-full-1", 1, end=True)
    old, new = stored(tmp_path, "host-full-2", 9), stored(tmp_path, "host-full-12", 5)
    stored(tmp_path, "host-quick-4", 2)
    stored(tmp_path, "host-vm-full-5", 2)
    (tmp_path / "other.jsonl").write_text("no campaign")
    assert unfinished(tmp_path, "host", "full", None) == new
    assert unfinished(tmp_path, "host", "full", 2) == old
    assert unfinished(tmp_path, "host", "full", 1) is None
    assert unfinished(tmp_path / "none", "host", "full", None) is None


def test_a_broken_campaign_is_not_passed_over(tmp_path: Path) -> None:
    path = stored(tmp_path, "host-full-1", 1)
    path.write_text("no campaign\n")
    with pytest.raises(JournalError, match=r"host-full-1\.jsonl:1: not JSON"):
        unfinished(tmp_path, "host", "full", None)


def note(text: str, share: float) -> None:
    """What goes on is not shown."""


def test_a_campaign_of_another_machine_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = campaign(tmp_path / f"{FIRST['host_id']}-quick-1.jsonl", end=False)
    before = path.read_bytes()
    monkeypatch.setattr(campaigns, "host_facts", lambda cpus: {**HOST, "logical_cpus": 4})
    with pytest.raises(JournalError) as caught:
        Campaign.begin(tmp_path, "quick", None, (0, 1), note)
    assert (
        str(caught.value)
        == f"{path}:1: the campaign of another machine: logical_cpus is 4, there 2; move the file away"
    )
    assert path.read_bytes() == before


def test_a_campaign_that_goes_on_says_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = campaign(tmp_path / f"{FIRST['host_id']}-quick-1.jsonl", end=False)
    monkeypatch.setattr(campaigns, "host_facts", lambda cpus: json.loads(json.dumps(HOST)))
    begun = Campaign.begin(tmp_path, "quick", None, (0, 1), note)
    assert (begun.journal.path, begun.first["seed"], begun.quick) == (path, 1, True)
    assert [line["record"] for line in read(path, unfinished=True)] == ["campaign", "row", "resumed"]


A, B = point("gather"), point("gemm_ffn", library="openblas")


def test_rounds_that_were_finished_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Group 0 is finished, 1 lacks two rounds, 2 needs a library that is not here, 3 was not begun."""
    rounds = hold.QUICK.rounds
    lines: list[dict[str, Any]] = [{"record": "group", "group": 0, "points": []}]
    lines += [{"record": "round", "group": 0, "repeated": False}] * rounds
    lines += [{"record": "group", "group": 1, "points": []}, {"record": "round", "group": 1, "repeated": True}]
    lines += [{"record": "round", "group": 1, "repeated": False}] * (rounds - 2)
    path = campaign(tmp_path / "c.jsonl", lines, end=False)
    asked = []

    def measured(made: Any, effort: Effort, reference: Any, keep: Any, done: int) -> None:
        keep({"repeated": False})
        asked.append((made[0].repeats, done))

    class NoCalls:
        def __init__(self, cpus: Sequence[int], seed: int) -> None:
            assert seed == FIRST["seed"]

        def forget(self) -> None:
            pass

    made = iter((1, 3))
    monkeypatch.setattr(campaigns, "points_of", lambda first: [[A], [A], [B], [A, B]])
    monkeypatch.setattr(campaigns, "Calls", NoCalls)
    monkeypatch.setattr(hold, "Reference", lambda cpus: None)
    monkeypatch.setattr(
        hold, "prepare", lambda points, calls, seconds: [SimpleNamespace(repeats=next(made))] * len(points)
    )
    monkeypatch.setattr(hold, "measure_group", measured)
    Campaign(Journal.resumed(path), (0, 1), note).hold_out()
    assert asked == [(1, rounds - 2), (3, 0)]
    added = read(path, unfinished=True)[1 + len(lines) :]
    assert [(line["record"], line["group"]) for line in added] == [("round", 1), ("group", 3), ("round", 3)]
    assert (len(added[1]["points"]), added[1]["repeats"]) == (1, [3])  # the library's is left out


def test_a_finished_campaign_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"record": "round", "group": 0, "repeated": False}] * hold.QUICK.rounds
    path = campaign(tmp_path / "c.jsonl", lines, end=False)
    monkeypatch.setattr(campaigns, "points_of", lambda first: [[A]])
    monkeypatch.setattr(hold, "Reference", None)
    Campaign(Journal.resumed(path), (0, 1), note).hold_out()
    assert len(read(path, unfinished=True)) == 1 + len(lines)


def test_pages_that_a_host_lacks_are_not_asked_for() -> None:
    pages = [
        {p.page for group in campaigns.points_of({**FIRST, "huge_pages": huge}) for p in group} for huge in (True, False)
    ]  # fmt: skip
    assert pages == [{"2MiB", "4KiB"}, {"4KiB"}]


@pytest.mark.parametrize(
    ("steps", "lines"),
    [
        (
            ((0, "begins", 0.0), (50, "half", 0.5), (51, "half", 0.6), (60, "late", 0.5)),
            ["[  0 s, about 100 s left] begins", "[ 50 s, about 50 s left] half", "[ 60 s, about 60 s left] late"],
        ),
        # What an earlier run did takes no time of this one: from 80 to 90 % in 20 s; by pace the rest takes 20 s too, by plan
        # 10 s, and the pace of a tenth counts a tenth.
        (
            ((0, "goes on", 0.8), (20, "then", 0.9)),
            ["[  0 s, about 20 s left] goes on", "[ 20 s, about 11 s left] then"],
        ),
    ],
)  # fmt: skip
def test_progress_tells_each_step_once_and_how_long_it_will_take(
    steps: Sequence[tuple[float, str, float]],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = progress.Progress(100.0)
    for seconds, text, share in steps:
        now[0] = seconds
        shown(text, share)
    shown.end()
    assert capsys.readouterr().err.splitlines() == lines


def test_development_seeds_teach_widths_by_kind_and_operator() -> None:
    """Errors of 1 to 20 % in logarithms: nine of ten are within 18.1 %."""
    sizes = [n / 100 * (-1) ** n for n in range(1, 21)]
    found = discrepancy.learned(
        [result(point("bh4"), math.exp(e)) for e in sizes]
        + [result(point("gather", tables=1 << 14, rows=1 << 10), math.exp(0.5))]  # 1 GiB: one point alone
    )
    assert found["points"] == 21
    assert found["kinds"] == {
        "bh4": {"points": 20, "half_width": pytest.approx(0.181, abs=0.005)},
        "gather": {"points": 1, "half_width": 0.5},
    }


def test_a_width_is_that_of_the_kind_then_of_the_operator_then_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = {"lookup_ffn, elsewhere, one thread": 0.1, "lookup_ffn": 0.2}
    monkeypatch.setattr(discrepancy, "table", lambda: widths)
    one, two = point("lookup_ffn"), point("lookup_ffn", threads=2)
    assert [discrepancy.half_width(p) for p in (one, two, point("bh4"))] == [0.1, 0.2, discrepancy.DEFAULT]


@pytest.mark.parametrize(
    ("p", "key"),
    [
        (point("bh4", threads=2), "bh4"),
        (point("code_score"), "code_score"),
        (point("gather", threads=2), "gather, elsewhere"),
        (point("lookup_ffn", threads=8), "lookup_ffn, elsewhere, several threads"),
        (point("gemm_ffn", 8), "gemm_ffn onednn, few tokens, one thread"),
    ],
)
def test_kinds_whose_errors_are_alike(p: Any, key: str) -> None:
    assert discrepancy.key(p) == key


def test_shipped_widths_are_shares() -> None:
    assert all(0.0 < width < 2.0 for width in discrepancy.table().values())


def test_the_spec_of_a_noisy_host_reads_back() -> None:
    machine = load_machine("amd-epyc-9755")
    path, given = next(iter(machine.provenance.items()))
    noisy = replace(machine, provenance={**machine.provenance, path: replace(given, interval=1.254)})
    found = load_machine_text(dump_machine(freeze.named(noisy, FIRST)), "host.yaml")
    assert found.provenance[path].interval == 1.0
    assert found.status == "calibrated"
