"""What the options of `lookupsim trace` become: a hierarchy, and a source of accesses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.cli_common import fail
from simulator.cli_options import Task

if TYPE_CHECKING:
    from simulator.cachegeometry import CacheGeometry, Hierarchy, PrefetcherGeometry
    from simulator.machine import Machine
    from simulator.tracechunk import TraceChunk

PAGE_SIZES = {"4KiB": 4096, "2MiB": 1 << 21, "none": None}


@dataclass(frozen=True)
class HierarchyOptions:
    """The options that say what is simulated."""

    machine: str | None
    caches: tuple[str, ...]
    policy: str
    inclusion: str | None
    page_size: str | None
    prefetchers: tuple[str, ...]
    instruction_cache: str | None

    def instruction_geometry(self) -> CacheGeometry | None:
        """The instruction cache."""
        return None if self.instruction_cache is None else _cache("--instruction-cache", self.instruction_cache)

    def hierarchy(self, machine: Machine | None, cores: int, page_bytes: int | None, seed: int) -> Hierarchy:
        """The hierarchy of a machine (`page_bytes` unless --page-size says otherwise), or of --cache."""
        from simulator.cachegeometry import Hierarchy, hierarchy_of

        prefetchers = tuple(_prefetcher(text) for text in self.prefetchers)
        try:
            if machine is None:
                return Hierarchy(self._levels(cores), cores, None, prefetchers, seed)
            if self.inclusion is not None:
                fail(
                    "--inclusion: a machine's spec says it (--set caches.L3.inclusion=...); give it with --cache",
                    code=2,
                )
            pages = page_bytes if self.page_size is None else PAGE_SIZES[self.page_size]
            return hierarchy_of(machine, cores, pages, self.policy, prefetchers, seed)  # type: ignore[arg-type]
        except ValueError as error:
            fail(f"this hierarchy is impossible: {error}", code=2)

    def _levels(self, cores: int) -> tuple[CacheGeometry, ...]:
        count = len(self.caches)
        given = () if self.inclusion is None else tuple(part.strip() for part in self.inclusion.split(","))
        if len(given) > max(count - 1, 0) or (len(given) > 1 and len(given) != count - 1):
            fail(
                f"--inclusion {self.inclusion}: one word, or one for each of {count - 1} levels outside the first",
                code=2,
            )
        words = given * (count - 1) if len(given) == 1 else given or ("non-inclusive",) * (count - 1)
        levels = []
        for index, text in enumerate(self.caches):
            shared = cores if index == count - 1 and count > 1 else 1
            options = {
                "policy": self.policy,
                "inclusion": ("non-inclusive", *words)[index],
                "cores_per_instance": shared,
            }
            levels.append(_cache("--cache", text, **options))
        return tuple(levels)


def _cache(option: str, text: str, **options: Any) -> CacheGeometry:
    """'32KiB,8,64' as a geometry; the line is 64 B unless given."""
    from simulator.cachegeometry import CacheGeometry
    from simulator.units import Dimension, UnitError, parse

    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts[1:]):
        fail(f"{option} {text}: write SIZE,WAYS or SIZE,WAYS,LINE, e.g. 32KiB,8,64", code=2)
    try:
        size = float(parts[0]) if parts[0].isascii() and parts[0].isdigit() else parse(parts[0], Dimension.SIZE)
        if not 1 <= size <= 2**36 or size != int(size):
            fail(f"{option} {text}: a size lies between 1 B and 64 GiB", code=2)
        return CacheGeometry(int(size), int(parts[1]), int(parts[2]) if len(parts) == 3 else 64, **options)
    except (UnitError, ValueError) as error:
        fail(f"{option} {text}: {error}", code=2)


def _prefetcher(text: str) -> PrefetcherGeometry:
    """'stream@L2,2,16': kind, level, then degree and distance."""
    from simulator.cachegeometry import PrefetcherGeometry

    head, *numbers = [part.strip() for part in text.split(",")]
    kind, _, level = head.partition("@")
    good = len(level) == 2 and level[0] in "Ll" and level[1] in "123456789" and len(numbers) <= 2
    if not good or not all(part.isascii() and part.isdigit() and len(part) < 5 for part in numbers):
        fail(f"--prefetcher {text}: write KIND@LEVEL[,DEGREE[,DISTANCE]], e.g. stream@L2,2,16", code=2)
    named = dict(zip(("degree", "distance"), map(int, numbers), strict=False))
    try:
        return PrefetcherGeometry(kind, int(level[1]) - 1, **named)  # type: ignore[arg-type]
    except ValueError as error:
        fail(f"--prefetcher {text}: {error}", code=2)


@dataclass(frozen=True)
class WorkloadOptions:
    """The options that say which accesses a workload makes."""

    workload: str
    batch: int
    threads: int
    layers: int | None
    residency: str | None
    schedule: str | None
    settings: tuple[str, ...]
    seed: int

    def task(self) -> Task:
        """The options as `predict` has them."""
        return Task(self.workload, (float(self.batch),), (float(self.threads),), self.residency, self.settings, False,
                    "table", None)  # fmt: skip

    def source(self, machine: Machine | None, calls: int, warmup: int = 0) -> WorkloadSource:
        """The workload with its schedule: the named one, else the one that `predict` chooses on this machine, else v3."""
        from dataclasses import replace

        from simulator.mapper import named_schedule
        from simulator.predict import predict
        from simulator.schedule import UNBOUNDED, GemmSchedule
        from simulator.workload import GemmFfn

        workload = replace(self.task().load(), batch=float(self.batch), threads=float(self.threads))
        if self.layers is not None:
            workload = replace(workload, layers=float(self.layers))
        schedule: Any
        try:
            if self.schedule is not None:
                schedule = named_schedule(self.schedule, workload.operator)
            elif machine is not None:
                schedule = predict(machine, workload).schedule
            elif isinstance(workload.operator, GemmFfn):
                schedule = GemmSchedule(UNBOUNDED, 1.0, 0.0)
            else:
                schedule = named_schedule("v3", workload.operator)
        except ValueError as error:
            fail(str(error))
        return WorkloadSource(workload, schedule, calls, warmup, self.seed)


@dataclass(frozen=True)
class WorkloadSource:
    """Accesses of `calls` calls of a workload, after `warmup` others."""

    workload: Any
    schedule: Any
    calls: int
    warmup: int
    seed: int

    @property
    def layers(self) -> int:
        """Layers that are cycled: one if it is hot."""
        return 1 if self.workload.residency == "hot" else int(self.workload.layers)

    def record(self) -> dict[str, Any]:
        """What ran."""
        from simulator.schedule import describe

        w = self.workload
        return {
            "workload": w.id or w.name,
            "batch": int(w.batch),
            "threads": int(w.threads),
            "layers": self.layers,
            "residency": w.residency,
            "schedule": describe(self.schedule),
            "calls": self.calls,
            "warmup_calls": self.warmup,
            "seed": self.seed,
        }

    def chunks(self) -> Iterator[tuple[int, TraceChunk]]:
        """(call, chunk) in order."""
        from simulator.addresses import gather_streams
        from simulator.workloadtrace import interleaved

        w = self.workload
        evicted = 0.0 if w.residency == "hot" else float(w.evicted_bytes_between_layers)
        try:
            segments = gather_streams(w.operator, self.schedule, int(w.batch), int(w.threads), self.layers, self.seed,
                                      calls=self.warmup + self.calls, evicted_bytes=evicted)  # fmt: skip
        except ValueError as error:
            fail(f"{w.id or w.name}: no addresses: {error}")
        return interleaved(segments)


class FileSource:
    """Accesses of a trace file; '-' is standard input."""

    def __init__(self, name: str, form: Any) -> None:
        from simulator.tracefile import TraceFile

        self.name = name
        self._file = TraceFile(Path("/dev/stdin" if name == "-" else name), form)

    def record(self) -> dict[str, Any]:
        """What was read."""
        return {"file": self.name, "format": self._file.format}

    def chunks(self) -> Iterator[tuple[int, TraceChunk]]:
        """(0, chunk) in order; a file that breaks a rule ends the command."""
        from simulator.tracechunk import TraceFileError

        try:
            for chunk in self._file.chunks():
                yield 0, chunk
        except TraceFileError as error:
            fail(str(error))
