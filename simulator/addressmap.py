"""Where the arrays of an FFN lie: disjoint, whole pages apart, the same on every host.

Virtual addresses from 2 MiB upwards, in the order in which they are asked for. Every array begins on a 4 KiB page; one of at
least a large page (tables, weights) begins on a 2 MiB page, as the kernels allocate them. Physical addresses are taken to be
virtual ones: caches indexed beyond the page offset see no page colouring by the operating system.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SMALL_PAGE_BYTES, LARGE_PAGE_BYTES = 4096, 1 << 21


@dataclass
class AddressMap:
    """Hands out addresses; `arrays` lists (name, first byte, bytes) in order."""

    end: int = LARGE_PAGE_BYTES
    arrays: list[tuple[str, int, int]] = field(default_factory=list)

    def take(self, name: str, size_bytes: float) -> int:
        """First byte of a new array of `size_bytes` (at least one byte is set aside)."""
        size = max(1, int(-(-size_bytes // 1)))
        page = LARGE_PAGE_BYTES if size >= LARGE_PAGE_BYTES else SMALL_PAGE_BYTES
        start = -(-self.end // page) * page
        self.end = start + size
        self.arrays.append((name, start, size))
        return start
