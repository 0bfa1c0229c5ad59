"""What the trace simulator simulates: caches, TLBs and prefetchers as whole numbers.

A geometry is checked when it is made: an impossible one (sets that do not come out whole, a line that is no power of two)
raises
ValueError with the rule that it breaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from simulator.machine import CacheLevel, Machine

Policy = Literal["lru", "plru", "srrip", "random"]
Inclusion = Literal["non-inclusive", "inclusive", "exclusive"]
POLICIES: tuple[Policy, ...] = ("lru", "plru", "srrip", "random")
INCLUSIONS: tuple[Inclusion, ...] = ("non-inclusive", "inclusive", "exclusive")
PAGE_SIZES = (4096, 2 * 2**20)


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class CacheGeometry:
    """One level. `inclusion` says how it relates to the levels inside it: it may keep their lines (non-inclusive), must
    (inclusive: what it evicts leaves them too), or holds only what they evicted (exclusive, a victim cache).

    `slices`: parts that an address hash chooses between (a sliced last level); sets are divided among them.
    """

    size_bytes: int
    ways: int
    line_bytes: int = 64
    policy: Policy = "lru"
    inclusion: Inclusion = "non-inclusive"
    cores_per_instance: int = 1
    slices: int = 1

    def __post_init__(self) -> None:
        for name in ("size_bytes", "ways", "line_bytes", "cores_per_instance", "slices"):
            if int(getattr(self, name)) != getattr(self, name) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}")
        if not _power_of_two(self.line_bytes):
            raise ValueError(f"line_bytes must be a power of two, got {self.line_bytes}")
        if self.size_bytes % (self.ways * self.line_bytes * self.slices):
            raise ValueError(
                f"size_bytes = {self.size_bytes} is no whole number of sets: {self.ways} ways x {self.line_bytes} B"
                + (f" x {self.slices} slices" if self.slices > 1 else "")
                + " must divide it"
            )
        if self.policy not in POLICIES or self.inclusion not in INCLUSIONS:
            raise ValueError(
                f"policy {self.policy!r}, inclusion {self.inclusion!r}: choose from {POLICIES}, {INCLUSIONS}"
            )
        if self.policy == "plru" and not (_power_of_two(self.ways) and self.ways <= 32):
            raise ValueError(f"tree-PLRU needs a power of two of at most 32 ways, got {self.ways}")

    @property
    def sets(self) -> int:
        """Sets of one instance, over all its slices."""
        return self.size_bytes // (self.ways * self.line_bytes)


@dataclass(frozen=True)
class TlbGeometry:
    """Two levels of data TLB for one page size, LRU; ways equal to the entries make a level fully associative."""

    l1_entries: int
    l1_ways: int
    l2_entries: int
    l2_ways: int
    page_bytes: int = 4096

    def __post_init__(self) -> None:
        if self.page_bytes not in PAGE_SIZES:
            raise ValueError(f"page_bytes must be one of {PAGE_SIZES}, got {self.page_bytes}")
        for entries, ways in ((self.l1_entries, self.l1_ways), (self.l2_entries, self.l2_ways)):
            if ways < 1 or entries < 1 or entries % ways:
                raise ValueError(f"a TLB of {entries} entries has no whole number of sets of {ways} ways")


@dataclass(frozen=True)
class PrefetcherGeometry:
    """A hardware prefetcher that watches the demand accesses of one level and fills that level (and those outside it).

    'adjacent': a miss brings the other line of its aligned pair. 'stream': two accesses to neighbouring lines of one
    page in one direction
    arm a stream; from then on each access that advances it brings lines up to `distance` ahead, at most `degree` at a
    time, inside
    the page. 'stride': the same constant distance seen twice by one instruction (here: one stream id) brings the next `degree`.
    """

    kind: Literal["stream", "stride", "adjacent"]
    level: int
    degree: int = 2
    distance: int = 8
    entries: int = 16

    def __post_init__(self) -> None:
        if self.kind not in ("stream", "stride", "adjacent"):
            raise ValueError(f"prefetcher kind {self.kind!r}: choose stream, stride or adjacent")
        if self.level < 0 or self.degree < 1 or self.distance < 1 or not 1 <= self.entries <= 1024:
            raise ValueError(f"a prefetcher needs level >= 0, degree and distance >= 1, 1 to 1024 entries, got {self}")


@dataclass(frozen=True)
class Hierarchy:
    """Levels from the core outwards, for `cores` cores; one TLB a core; prefetchers; the seed of random replacement."""

    levels: tuple[CacheGeometry, ...]
    cores: int = 1
    tlb: TlbGeometry | None = None
    prefetchers: tuple[PrefetcherGeometry, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.levels or self.cores < 1:
            raise ValueError("a hierarchy needs at least one level and one core")
        if len({level.line_bytes for level in self.levels}) > 1:
            raise ValueError("all levels must have the same line_bytes")
        for inner, outer in zip(self.levels, self.levels[1:], strict=False):
            if outer.cores_per_instance % inner.cores_per_instance:
                raise ValueError("an instance of a level must serve whole instances of the level inside it")
        if self.levels[0].inclusion == "exclusive":
            raise ValueError("the first level has nothing inside it to be exclusive of")
        for prefetcher in self.prefetchers:
            if prefetcher.level >= len(self.levels):
                raise ValueError(f"a prefetcher of level {prefetcher.level}: there are {len(self.levels)} levels")
            if self.levels[prefetcher.level].inclusion == "exclusive":
                raise ValueError(
                    "a prefetcher cannot fill an exclusive level: that holds only what was evicted into it"
                )

    def instances(self, level: int) -> int:
        """Instances of a level that the cores need."""
        return -(-self.cores // self.levels[level].cores_per_instance)


def _whole_sets(level: CacheLevel, cores: int, policy: Policy, slices: int) -> CacheGeometry:
    line, ways = int(level.line_bytes), int(level.ways)
    sets = max(int(level.size_bytes * level.available_fraction) // (ways * line * slices), 1)
    return CacheGeometry(
        size_bytes=sets * ways * line * slices,
        ways=ways,
        line_bytes=line,
        policy=policy,
        inclusion=level.inclusion,
        cores_per_instance=max(int(level.cores_per_instance), 1) if cores > 1 else 1,
        slices=slices,
    )


def hierarchy_of(
    machine: Machine,
    cores: int = 1,
    page_bytes: int | None = 4096,
    policy: Policy = "lru",
    prefetchers: tuple[PrefetcherGeometry, ...] = (),
    seed: int = 0,
) -> Hierarchy:
    """The caches and TLBs of a machine as `cores` of its cores see them; `page_bytes` None leaves the TLB out.

    What `available_fraction` takes away is taken as sets. A level-2 TLB is simulated with 8 ways (or one set where that
    does not
    come out), a level-1 TLB fully associative.
    """
    levels: list[CacheGeometry] = []
    for index, level in enumerate(machine.caches.levels()):
        geometry = _whole_sets(level, cores, policy, 1)
        if index == 0 and geometry.inclusion == "exclusive":
            raise ValueError(f"{machine.id or machine.name}: caches.L1 cannot be exclusive")
        levels.append(geometry)
    tlb = None if page_bytes is None else _tlb(machine.tlb, page_bytes)
    return Hierarchy(tuple(levels), cores, tlb, prefetchers, seed)


def _tlb(tlb: Any, page_bytes: int) -> TlbGeometry:
    small = page_bytes == PAGE_SIZES[0]
    first = int(tlb.l1_entries_4k if small else tlb.l1_entries_2m)
    second = int(tlb.l2_entries_4k if small else tlb.l2_entries_2m)
    return TlbGeometry(first, first, second, 8 if second % 8 == 0 else second, page_bytes)
