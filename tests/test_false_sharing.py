"""The published code kernel's false sharing: a schedule that users can choose, and that they see punished."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from simulator.analytic import phase_time
from simulator.cli import lookupsim
from simulator.explain import time_stack
from simulator.mapper import lookup_candidates, named_schedule
from simulator.phases import Access, Phase, Stream, Work
from simulator.predict import Prediction, PredictionError, predict
from simulator.resources import broadcastable, hand_over_seconds, resolve
from simulator.schedule import NAMED, LookupSchedule, describe, take
from simulator.specfile import load_machine
from simulator.workloadfile import load_workload

CPU = load_machine("amd-epyc-9755")
TASK = replace(load_workload("lookupffn-t128-s8-bh4"), batch=32768.0)
NEAR, FAR = 45e-9, 150e-9


def code_score(name: str, threads: float) -> float:
    """Transfer seconds of one layer's code_score."""
    found = predict(CPU, replace(TASK, threads=threads), schedule=name)
    return next(phase for phase in found.phases if phase.name == "code_score").transfer_seconds


def test_one_thread_hands_no_line_over() -> None:
    one = replace(TASK, threads=1.0)
    published, plain = predict(CPU, one, schedule="published"), predict(CPU, one, schedule="v1")
    assert published.seconds_per_call == plain.seconds_per_call
    assert code_score("published", 1.0) == 0.0


@pytest.mark.parametrize(("threads", "expected"), [
    (2.0, NEAR), (8.0, NEAR),
    (16.0, (7 * NEAR + 8 * FAR) / 15),  # a line's 16 writers on two CCDs
    (64.0, (7 * NEAR + 8 * FAR) / 15 / 4),  # 16 writers of 64 threads at a time
])  # fmt: skip
def test_every_owner_of_a_line_fetches_it_once(threads: float, expected: float) -> None:
    lines = 2 * 32768 * 128 / 16  # codes and scores, sixteen 4-byte elements a line
    assert code_score("published", threads) == pytest.approx(lines * expected, rel=1e-12)


def test_it_grows_with_threads_while_the_work_shrinks() -> None:
    transfers = [code_score("published", n) for n in (1.0, 8.0, 16.0)]
    assert transfers[0] < transfers[1] < transfers[2]
    slowdown = []
    for n in (1.0, 2.0, 8.0, 16.0):
        task = replace(TASK, threads=n)
        slow, fast = (predict(CPU, task, schedule=name) for name in ("published", "v1"))
        slowdown.append(slow.seconds_per_call / fast.seconds_per_call)
    assert slowdown == sorted(slowdown)
    assert slowdown[-1] > 2.0


def test_the_stack_names_it_and_adds_up() -> None:
    task = replace(TASK, threads=16.0)
    found = predict(CPU, task, schedule="published")
    stack = time_stack(CPU, task, found)
    assert sum(stack.seconds.values()) == pytest.approx(found.seconds_per_call, rel=1e-12)
    assert stack.seconds["line transfers"] == pytest.approx(4 * code_score("published", 16.0), rel=1e-9)
    assert stack.binding == "line transfers"


def test_a_slower_way_between_cores_costs_more() -> None:
    slower = load_machine("amd-epyc-9755", {"interconnect.core_to_core": "90 ns"})
    task = replace(TASK, threads=8.0)
    a, b = (predict(cpu, task, schedule="published").seconds_per_call for cpu in (CPU, slower))
    assert b - a == pytest.approx(4 * 2 * 32768 * 128 / 16 * NEAR, rel=1e-9)


def test_the_mapper_never_chooses_it() -> None:
    assert not np.any(lookup_candidates().interleaved_codes)
    assert "one by one" not in predict(CPU, replace(TASK, threads=1.0)).schedule_text


def test_hand_overs_add_up_and_wait_beside_the_arithmetic() -> None:
    r = broadcastable(resolve(CPU, 4.0))
    few = Stream("x", "transfer", (Access(1000.0 * 64.0, 0.0, 0.0),), writes=1.0, writers=4.0)
    many = replace(few, accesses=(Access(4e6 * 64.0, 0.0, 0.0),))
    work = Work(macs_fp32=1e9)
    alone = phase_time(Phase("p", work, ()), r)
    assert phase_time(Phase("p", Work(), (few,)), r).total == pytest.approx(250.0 * NEAR, rel=1e-12)
    assert phase_time(Phase("p", Work(), (few, few)), r).total == pytest.approx(500.0 * NEAR, rel=1e-12)
    assert phase_time(Phase("p", work, (few,)), r).total == alone.total
    both = phase_time(Phase("p", work, (many,)), r)
    assert both.total == pytest.approx(1e6 * NEAR, rel=1e-12)
    assert both.memory_bytes == alone.memory_bytes
    assert phase_time(Phase("p", work, (many,)), r, frozenset({"line transfers"})).total == alone.total


def test_hand_overs_are_near_within_a_last_level_cache() -> None:
    r = broadcastable(resolve(CPU, 128.0))
    assert hand_over_seconds(r, 1.0) == pytest.approx(NEAR)
    assert hand_over_seconds(r, 8.0) == pytest.approx(NEAR)
    assert hand_over_seconds(r, 9.0) == pytest.approx((7 * NEAR + FAR) / 8)


@pytest.mark.parametrize("name", NAMED)
def test_names_are_the_loop_nests_that_they_say(name: str) -> None:
    schedule = named_schedule(name, TASK.operator)
    assert describe(schedule).startswith("V1" if name == "published" else name.upper())
    found = predict(CPU, replace(TASK, batch=64.0, threads=2.0), schedule=name)
    assert found.schedule == schedule
    best = predict(CPU, replace(TASK, batch=64.0, threads=2.0))
    assert found.seconds_per_call >= best.seconds_per_call


def test_all_but_the_published_one_are_candidates_of_the_mapper() -> None:
    offered = lookup_candidates()
    candidates = {take(offered, i) for i in range(len(offered.split))}
    assert {name for name, schedule in NAMED.items() if schedule in candidates} == set(NAMED) - {"published"}


def test_describe_says_so() -> None:
    assert describe(NAMED["published"]).endswith("codes dealt to threads one by one")
    assert "one by one" not in describe(NAMED["v1"])
    assert isinstance(NAMED["published"], LookupSchedule)


def test_wrong_names_are_refused() -> None:
    with pytest.raises(PredictionError, match=r"schedule v6: one of v1, v2, v3, v4, v5, published"):
        predict(CPU, TASK, schedule="v6")
    with pytest.raises(PredictionError, match="this workload is a GEMM"):
        predict(CPU, load_workload("roberta-small"), schedule="v1")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(lookupsim, ["predict", "-m", "amd-epyc-9755", *arguments])
    return result.exit_code, result.output


def test_the_command_line_takes_a_name() -> None:
    code, output = run("-b", "32768", "-t", "16", "--schedule", "published")
    assert code == 0
    assert "transfers" in output
    assert "one by one" in output
    code, output = run("-b", "64", "-t", "1", "--schedule", "V2", "--format", "json")
    assert code == 0
    (record,) = json.loads(output)["records"]
    assert record["schedule"].startswith("V2")
    assert record["schedule_fields"]["interleaved_codes"] == 0.0


def test_the_command_line_refuses_others() -> None:
    assert run("--schedule", "v9")[0] == 2
    arguments = ["predict", "-m", "amd-epyc-9755", "-w", "roberta-small", "--schedule", "v1"]
    result = CliRunner().invoke(lookupsim, arguments)
    assert isinstance(result.exception, PredictionError)
    assert "this workload is a GEMM" in str(result.exception)


def test_predictions_carry_the_seconds_of_transfers() -> None:
    found: Prediction = predict(CPU, replace(TASK, threads=8.0), schedule="published")
    assert sum(phase.seconds for phase in found.phases) * 4 == pytest.approx(found.seconds_per_call, rel=1e-12)
    assert {phase.name for phase in found.phases if phase.transfer_seconds > 0.0} == {"code_score"}
