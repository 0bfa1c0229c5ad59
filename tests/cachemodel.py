"""A slow, plain model of the rules of `simulator.tracesim`, to hold the fast one to: sets are lists, LRU only."""

from __future__ import annotations

from simulator.cachegeometry import Hierarchy


class PlainCaches:
    """Levels of lists of [line, dirty], most recent first."""

    def __init__(self, h: Hierarchy) -> None:
        self.h, self.last = h, len(h.levels)
        self.sets: dict[tuple[int, int, int], list[list[int]]] = {}
        self.hits, self.misses = [0] * self.last, [0] * self.last
        self.reads = self.writes = 0

    def at(self, level: int, core: int, line: int) -> list[list[int]]:
        geometry = self.h.levels[level]
        return self.sets.setdefault((level, core // geometry.cores_per_instance, line % geometry.sets), [])

    def copies(self, line: int, outside: int) -> list[tuple[int, int, list[list[int]]]]:
        """(level, first core, set) of every set of the levels inside `outside` that has the line."""
        found = [
            (k, i * self.h.levels[k].cores_per_instance) for k in range(outside) for i in range(self.h.instances(k))
        ]
        return [(k, c, self.at(k, c, line)) for k, c in found if any(e[0] == line for e in self.at(k, c, line))]

    def fill(self, level: int, core: int, line: int, dirty: int) -> None:
        ways = self.at(level, core, line)
        ways.insert(0, [line, dirty])
        if len(ways) <= self.h.levels[level].ways:
            return
        line, dirty = ways.pop()
        geometry = self.h.levels[level]
        if geometry.inclusion == "inclusive":
            for _, owner, inner in self.copies(line, level):
                if owner // geometry.cores_per_instance == core // geometry.cores_per_instance:
                    dirty |= next(e[1] for e in inner if e[0] == line)
                    inner[:] = [e for e in inner if e[0] != line]
        if level + 1 == self.last:
            self.writes += dirty
        elif dirty or self.h.levels[level + 1].inclusion == "exclusive":
            present = [e for e in self.at(level + 1, core, line) if e[0] == line]
            if present:
                present[0][1] |= dirty
            else:
                self.fill(level + 1, core, line, dirty)

    def snoop(self, core: int, line: int, write: bool) -> None:
        for level, owner, ways in self.copies(line, self.last):
            sharers = self.h.levels[level].cores_per_instance
            if owner // sharers == core // sharers:
                continue
            entry = next(e for e in ways if e[0] == line)
            dirty = entry[1]
            if write:
                ways.remove(entry)
            else:
                entry[1] = 0
            if dirty and not write:
                sizes = [(k, self.h.levels[k].cores_per_instance) for k in range(level + 1, self.last)]
                shared = next((k for k, size in sizes if core // size == owner // size), None)
                if shared is None:
                    self.writes += 1
                    continue
                present = [e for e in self.at(shared, core, line) if e[0] == line]
                if present:
                    present[0][1] = 1
                else:
                    self.fill(shared, core, line, 1)

    def access(self, core: int, line: int, write: bool) -> int:
        """Level that had the line."""
        dirty, source = int(write), 0
        private = next((k for k in range(self.last) if self.h.instances(k) == 1), self.last)
        asked = False
        while source < self.last:
            if source == max(private, 1) and not asked:
                self.snoop(core, line, write)
                asked = True
            ways = self.at(source, core, line)
            entry = next((e for e in ways if e[0] == line), None)
            if entry is None:
                self.misses[source] += 1
                source += 1
                continue
            self.hits[source] += 1
            ways.remove(entry)
            if source == 0:
                if write and not entry[1]:
                    self.snoop(core, line, True)
                ways.insert(0, [line, entry[1] | int(write)])
                return 0
            if self.h.levels[source].inclusion == "exclusive":
                dirty |= entry[1]
            else:
                ways.insert(0, entry)
            break
        if not asked and (write or source == self.last):
            self.snoop(core, line, write)
        self.reads += source == self.last
        for level in range(source - 1, 0, -1):
            if self.h.levels[level].inclusion != "exclusive":
                self.fill(level, core, line, 0)
        self.fill(0, core, line, dirty)
        return source


class PlainPolicy:
    """One level whose sets choose a victim by tree-PLRU, SRRIP or at random: ways in place, state beside them."""

    def __init__(self, sets: int, ways: int, policy: str, seed: int = 0) -> None:
        self.ways, self.policy, self.word = ways, policy, seed & (2**64 - 1)
        self.tags: list[list[int | None]] = [[None] * ways for _ in range(sets)]
        self.age = [[0] * ways for _ in range(sets)]
        self.left: list[dict[tuple[int, int], bool]] = [{} for _ in range(sets)]

    def random(self, bound: int) -> int:
        """SplitMix64, the upper half of a word as a fraction of `bound`."""
        self.word = (self.word + 0x9E3779B97F4A7C15) % 2**64
        z = self.word
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return ((z ^ (z >> 31)) >> 32) * bound >> 32

    def halves(self, number: int, way: int | None) -> int:
        """Walks the tree of a set: to `way`, leaving every node pointing away from it, or (None) along the pointers."""
        low, size = 0, self.ways
        while size > 1:
            size //= 2
            node = (low, size)
            go_left = self.left[number].get(node, True) if way is None else way < low + size
            if way is not None:
                self.left[number][node] = not go_left
            low += 0 if go_left else size
        return low

    def access(self, line: int) -> bool:
        """Whether the line was there."""
        number = line % len(self.tags)
        tags, age = self.tags[number], self.age[number]
        hit = line in tags
        if hit:
            way = tags.index(line)
            age[way] = 0
        else:
            way = tags.index(None) if None in tags else self.victim(number)
            tags[way], age[way] = line, 2
        if self.policy == "plru":
            self.halves(number, way)
        return hit

    def victim(self, number: int) -> int:
        if self.policy == "random":
            return self.random(self.ways)
        if self.policy == "plru":
            return self.halves(number, None)
        age = self.age[number]
        while max(age) < 3:
            age[:] = [a + 1 for a in age]
        return age.index(max(age))
