"""Queues with a closed form, as event programs: what the engine measures beside what theory says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import poisson

from simulator.eventprogram import CREDITS, CoreWork, EventProgram, Kind, Lane, ProgramPhase, Station, Stop
from simulator.events import EventRun, run_program


@dataclass(frozen=True)
class Queue:
    """One check: `measured` by the engine, `theory` in closed form, both in `unit`."""

    name: str
    unit: str
    measured: float
    theory: float

    @property
    def error(self) -> float:
        """Relative."""
        return self.measured / self.theory - 1.0


def open_queue(interarrivals: list[int], services: list[int], servers: int) -> float:
    """Mean wait in picoseconds of packets that arrive and are served in the given times, first come, first served."""
    starts = np.cumsum(interarrivals)
    lengths, kinds = np.unique(services, return_inverse=True)
    program = EventProgram(
        cores=1,
        stations=(Station("server", "memory bandwidth", servers),),
        groups=((0,),),
        norms=(),
        phases=(
            ProgramPhase(
                "open",
                tuple(Kind(str(x), 0, 0, int(x), (Stop(0, int(x)),)) for x in lengths),
                (CoreWork(0, (Lane(tuple(kinds.tolist()), (0,) * len(kinds), 0, 1, tuple(starts.tolist())),)),),
            ),
        ),
    )
    return run_program(program).stations[0].mean_wait_ps


def exponential(mean: int, count: int, seed: int) -> list[int]:
    """Exponential times: evenly spaced quantiles, so that the distribution is exact, in an order without pattern."""
    quantiles = -np.log1p(-(np.arange(count) + 0.5) / count) * mean
    order = np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")
    return np.maximum(np.rint(quantiles[order]), 1).astype(int).tolist()


def md_wait(servers: int, use: float, service: float) -> float:
    """Mean wait of M/D/c (Crommelin 1932): sum over i of P(N >= i c) - P(N > i c) / use, N Poisson with mean i c use."""
    i = np.arange(1, 2000)
    mean = i * servers * use
    return float(np.sum(poisson.sf(i * servers - 1, mean) - poisson.sf(i * servers, mean) / use)) * service


def closed(packets: int, window: int, latency: int, service: int, cores: int = 1, servers: int = 1) -> EventRun:
    """Cores with `window` packets of one line in flight each, behind one station."""
    kind = Kind("line", 0, CREDITS // window, latency, (Stop(0, service),))
    lane = Lane((0,) * packets, (0,) * packets, latency, window)
    works = tuple(CoreWork(core, (lane,), core * latency // window // cores) for core in range(cores))
    return run_program(
        EventProgram(
            cores,
            (Station("link", "memory bandwidth", servers),),
            ((0,),) * cores,
            (),
            (ProgramPhase("closed", (kind,), works),),
        )
    )


def queues(count: int = 150_000) -> list[Queue]:
    """All checks; open queues with `count` packets."""
    found = []
    service = 1000
    for use in (0.3, 0.5, 0.7):
        measured = open_queue(exponential(round(service / use), count, 1), exponential(service, count, 2), 1)
        found.append(Queue(f"M/M/1, use {use:.0%}: mean wait", "ps", measured, use / (1.0 - use) * service))
    for servers, use in ((1, 0.5), (1, 0.8), (2, 0.8), (8, 0.8)):
        measured = open_queue(exponential(round(service / use / servers), count, 3), [service] * count, servers)
        found.append(Queue(f"M/D/{servers}, use {use:.0%}: mean wait", "ps", measured, md_wait(servers, use, service)))
    n, latency = 4000, 100_000
    for window in (1, 4, 16):
        time = closed(n, window, latency, 0).time_ps / n
        name = "pointer chase: time a line" if window == 1 else f"{window} lines in flight: time a line"
        found.append(Queue(name, "ps", time, latency / window))
    found.append(Queue("saturated channel: time a line", "ps", closed(n, 24, latency, 8000).time_ps / n, 8000.0))
    two = closed(n, 16, latency, 5000, cores=2)
    found.append(Queue("two streams over one link: time a line of each", "ps", two.time_ps / n, 10_000.0))
    first, second = _unequal(n, latency, 5000).phases[0].core_ps
    found.append(Queue("windows 16 and 8, twice the lines: time of one over the other", "1", first / second, 1.0))
    below = closed(n, 4, latency, 10_000, cores=2)
    found.append(Queue("two streams that fit a link: time a line of each", "ps", below.time_ps / n, latency / 4.0))
    return found


def _unequal(packets: int, latency: int, service: int) -> EventRun:
    """Two cores share a saturated link as their lines in flight: with 16 and 8, twice the lines take the same time."""
    kinds = tuple(Kind("line", 0, CREDITS // window, latency, (Stop(0, service),)) for window in (16, 8))
    lanes = (
        Lane((0,) * packets, (0,) * packets, latency, 16),
        Lane((1,) * (packets // 2), (0,) * (packets // 2), latency, 8),
    )
    works = tuple(CoreWork(core, (lane,)) for core, lane in enumerate(lanes))
    station = (Station("link", "memory bandwidth"),)
    return run_program(EventProgram(2, station, ((0,), (0,)), (), (ProgramPhase("two", kinds, works),)))


__all__ = ["Queue", "closed", "exponential", "md_wait", "open_queue", "queues"]
