"""Event programs: literal timelines worked out by hand, strict reading, and the same numbers on every host."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.eventprogram import (
    BLOCKS,
    CREDITS,
    WAITS,
    CoreWork,
    EventProgram,
    Kind,
    Lane,
    ProgramError,
    ProgramPhase,
    Station,
    Stop,
    Units,
    from_json,
    to_json,
)
from simulator.events import run_program

HERE = Path(__file__).parent
LINK = Station("link", "memory bandwidth")


def program(
    kinds: tuple[Kind, ...], lanes: tuple[Lane, ...], stations: tuple[Station, ...] = (LINK,), **phase: Any
) -> Any:
    """One lane on each core, one phase."""
    works = tuple(CoreWork(core, (lane,)) for core, lane in enumerate(lanes))
    return EventProgram(len(lanes), stations, ((0,),) * len(lanes), (), (ProgramPhase("phase", kinds, works, **phase),))


def lane(*kinds: int, **fields: Any) -> Lane:
    """Packets that all take the first station of their group."""
    return Lane(kinds, (0,) * len(kinds), **fields)


def test_one_line_at_a_time_takes_its_latency() -> None:
    run = run_program(program((Kind("line", 0, CREDITS, 100),), (lane(0, 0, 0),)))
    assert run.time_ps == 300


def test_two_cores_queue_at_a_link() -> None:
    """Both ask at 0; the second waits 30 for the first's service. From then on they take turns without waiting."""
    kind = Kind("line", 0, CREDITS, 100, (Stop(0, 30),))
    run = run_program(program((kind,), (lane(0, 0), lane(0, 0))))
    assert run.phases[0].core_ps == (200, 230)
    assert run.stations[0].busy_ps == 120
    assert run.stations[0].worst_ps == 30
    assert run.stack["imbalance"] == 15  # 30 of one of two cores
    assert sum(run.stack.values()) == run.time_ps == 230


def test_two_servers_serve_two_cores_at_once() -> None:
    kind = Kind("line", 0, CREDITS, 100, (Stop(0, 30),))
    run = run_program(program((kind,), (lane(0, 0), lane(0, 0)), (replace(LINK, servers=2),)))
    assert run.phases[0].core_ps == (200, 200)


def test_a_miss_holds_up_what_is_behind_it() -> None:
    """Two lines in flight: the miss (100) and one hit (10) start at 0; a third packet may start only at 100, when both leave.
    Out of order it would start at 10."""
    miss, hit = Kind("miss", 0, CREDITS // 2, 100, order=BLOCKS), Kind("hit", 0, CREDITS // 2, 10, order=WAITS)
    ordered = run_program(program((miss, hit), (lane(0, 1, 1, 1),)))
    free = run_program(program((replace(miss, order=0), replace(hit, order=0)), (lane(0, 1, 1, 1),)))
    assert ordered.time_ps == 105  # ends with the share of the line that started at 100
    assert free.time_ps == 50  # the miss starts at 0 and is done with half of the lane's time, 50


def test_barriers_calls_and_extension_are_added_once() -> None:
    kind = Kind("line", 0, CREDITS, 100)
    run = run_program(program((kind,), (lane(0), lane(0, 0)), extend=(10, 1), barrier_ps=7, calls_ps=3))
    assert run.time_ps == 2000 + 7 + 3
    assert run.stack == {"compute": 1500, "imbalance": 500, "synchronisation": 10}


def test_pieces_go_to_whoever_is_free() -> None:
    """Two cores take four pieces of 100 from a counter that moves in 10: they start at 10 and 20, and take their next
    ones as soon as the last packet is under way, so that these follow without a gap."""
    kind = Kind("line", 0, CREDITS, 100)
    stations = (Station("counter", "synchronisation"),)
    units = Units(0, 10, (0, 0), (tuple((lane(0),) for _ in range(4)),))
    run = run_program(program((kind,), (lane(), lane()), stations, dynamic=units))
    assert run.time_ps == 220
    assert run.stations[0].packets == 4
    assert sum(run.stack.values()) == run.time_ps


def text() -> str:
    return to_json(program((Kind("line", 0, CREDITS, 100, (Stop(0, 30),)),), (lane(0, 0), lane(0))))


def test_a_program_survives_its_file() -> None:
    assert to_json(from_json(text())) == text()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format_version",), 2, "p: format_version: must be 1"),
        (("cores",), 1.5, "p.cores: must be a whole number, found 1.5"),
        (("cores",), 3, "p.groups: must have one entry for each of 3 cores"),
        (("stations", 0, "servers"), 0, "p.stations: servers must be at least 1"),
        (("phases", 0, "kinds", 0, "latency_ps"), -1, r"p.phases\[0\].kinds\[0\].latency_ps: must not be negative"),
        (("phases", 0, "kinds", 0, "norm"), 0, r"p.phases\[0\].kinds\[0\]: norm must exist"),
        (("phases", 0, "works", 0, "core"), 9, r"p.phases\[0\].works\[0\].core: there are 2 cores"),
        (("phases", 0, "works", 1, "lanes", 0, "kinds"), [4], r"works\[1\]: kind 4 does not exist"),
        (("phases", 0, "works", 1, "lanes", 0, "choices"), [4], r"works\[1\]: .* station that does not exist"),
        (("phases", 0, "extend"), [1], r"p.phases\[0\].extend: must have 2 entries, found 1"),
        (("phases", 0, "name"), None, r"p.phases\[0\].name: must be text"),
        (("phases", 0, "colour"), 1, r"p.phases\[0\]: unknown key 'colour'"),
        (("groups",), {}, "p.groups: must be a list"),
    ],
)
def test_a_broken_program_is_refused_with_its_place(path: tuple[Any, ...], value: Any, message: str) -> None:
    data = json.loads(text())
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ProgramError, match=message):
        from_json(json.dumps(data), "p")


def test_what_is_no_json_or_lacks_a_key_is_refused() -> None:
    with pytest.raises(ProgramError, match="p: not JSON"):
        from_json("{", "p")
    data = json.loads(text())
    del data["phases"][0]["kinds"]
    with pytest.raises(ProgramError, match=r"p.phases\[0\]: 'kinds' is missing"):
        from_json(json.dumps(data), "p")


def test_a_stored_program_gives_the_stored_picoseconds() -> None:
    """8 cores of EPYC 9755 with demand rows, banks and the arithmetic overlapped; the numbers are those of another run."""
    stored = json.loads((HERE / "data" / "event-program.json").read_text())
    run = run_program(from_json(json.dumps(stored["program"])))
    assert run.time_ps == stored["time_ps"]
    assert run.stack == stored["stack"]
    assert [list(phase.core_ps) for phase in run.phases] == stored["core_ps"]
