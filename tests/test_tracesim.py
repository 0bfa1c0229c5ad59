"""The trace simulator: closed forms, and every counter against a plain model under random accesses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cachegeometry import CacheGeometry, Hierarchy, PrefetcherGeometry, TlbGeometry, hierarchy_of
from simulator.specfile import load_machine
from simulator.tracesim import TraceSimulator
from tests.cachemodel import PlainCaches, PlainPolicy

LINE = 64


def sweep(lines: int, rounds: int = 1) -> np.ndarray:
    """Addresses of a sweep over `lines` lines, `rounds` times."""
    return np.tile(np.arange(lines, dtype=np.uint64) * np.uint64(LINE), rounds)


def cache(sets: int, ways: int, **options: object) -> CacheGeometry:
    """A cache by its shape."""
    return CacheGeometry(sets * ways * LINE, ways, **options)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["non-inclusive", "inclusive", "exclusive"]),
    st.sampled_from(["non-inclusive", "inclusive", "exclusive"]),
    st.integers(1, 2),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 39), st.booleans()), min_size=1, max_size=300),
)
def test_every_counter_equals_the_plain_model(
    second: str, third: str, cores: int, accesses: list[tuple[int, int, bool]]
) -> None:
    h = Hierarchy(
        (cache(2, 2), cache(2, 3, inclusion=second), cache(3, 4, inclusion=third, cores_per_instance=2)), cores
    )
    fast, plain = TraceSimulator(h), PlainCaches(h)
    for core, line, write in accesses:
        core = min(core, cores - 1)
        fast.run([line * LINE], core, write, stream=1)
        plain.access(core, line, write)
    found = fast.statistics()
    assert [level.hits for level in found.levels] == plain.hits
    assert [level.misses for level in found.levels] == plain.misses
    assert (found.memory_reads, found.memory_writes) == (plain.reads, plain.writes)
    assert found.stream_hits[1].sum() == found.accesses == len(accesses)
    together = TraceSimulator(h)
    together.run([a[1] * LINE for a in accesses], [min(a[0], cores - 1) for a in accesses], [a[2] for a in accesses])
    assert [level.hits for level in together.statistics().levels] == plain.hits
    assert together.statistics().memory_writes == plain.writes


def test_compulsory_misses_are_footprint_over_line() -> None:
    simulator = TraceSimulator(Hierarchy((cache(8, 2), cache(64, 8))))
    simulator.run(np.arange(0, 10_000, 8, dtype=np.uint64))
    found = simulator.statistics()
    assert found.accesses == 1250
    assert found.levels[0].misses == found.memory_reads == -(-10_000 // LINE)


@pytest.mark.parametrize(("lines", "share"), [(32, 1.0), (33, 0.0)])
def test_a_cyclic_sweep_just_over_capacity_misses_everything_under_lru(lines: int, share: float) -> None:
    simulator = TraceSimulator(Hierarchy((cache(1, 32),)))
    simulator.run(sweep(lines))
    simulator.reset_statistics()
    simulator.run(sweep(lines, 5))
    assert simulator.statistics().levels[0].hit_share == share


def test_random_rows_touch_as_many_distinct_ones_as_the_formula_says() -> None:
    rows, batch, repeats = 256, 200, 64
    draws = np.random.default_rng(3).integers(0, rows, (repeats, batch)).astype(np.uint64)
    simulator = TraceSimulator(Hierarchy((cache(1024, 16),)))
    for k in range(repeats):
        simulator.run((draws[k] + np.uint64(k * rows)) * np.uint64(512), size_bytes=512)
    expected = rows * (1.0 - (1.0 - 1.0 / rows) ** batch) * 8
    assert simulator.statistics().memory_reads / repeats == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("policy", ["plru", "srrip", "random"])
def test_other_policies_keep_what_fits_and_some_of_what_does_not(policy: str) -> None:
    simulator = TraceSimulator(Hierarchy((cache(16, 8, policy=policy),), seed=5))
    simulator.run(sweep(128, 4))
    assert simulator.statistics().memory_reads == 128
    over = TraceSimulator(Hierarchy((cache(16, 8, policy=policy),), seed=5))
    over.run(sweep(144, 40))
    kept = over.statistics().levels[0].hit_share
    assert (0.2 if policy == "random" else 0.0) <= kept < 0.95  # SRRIP and PLRU do not resist a cyclic sweep
    again = TraceSimulator(Hierarchy((cache(16, 8, policy=policy),), seed=5))
    again.run(sweep(144, 40))
    assert again.statistics().levels[0].hits == over.statistics().levels[0].hits


def test_tree_plru_follows_its_bits() -> None:
    simulator = TraceSimulator(Hierarchy((cache(1, 4, policy="plru"),)))
    simulator.run(
        [line * LINE for line in (0, 1, 2, 3, 0, 4)]
    )  # 0 used again: the tree points to the right half, way 2
    assert [simulator.holds(0, 0, line * LINE)[0] for line in range(5)] == [True, True, False, True, True]


def test_srrip_evicts_what_was_never_used_again() -> None:
    simulator = TraceSimulator(Hierarchy((cache(1, 2, policy="srrip"),)))
    simulator.run([line * LINE for line in (0, 1, 0, 2)])
    assert [simulator.holds(0, 0, line * LINE)[0] for line in range(3)] == [True, False, True]


def test_non_temporal_stores_pass_the_caches() -> None:
    simulator = TraceSimulator(Hierarchy((cache(4, 2),)))
    simulator.run([0], writes=True)
    simulator.run(np.arange(0, 256, 8, dtype=np.uint64), non_temporal=True)
    found = simulator.statistics()
    assert found.memory_writes == 4
    assert found.memory_reads == 1
    assert simulator.holds(0, 0, 0) == (False, False)


def test_prefetchers_fetch_what_they_should() -> None:
    def run(kind: str, addresses: list[int]) -> tuple[int, int, int]:
        unit = PrefetcherGeometry(kind, 0, degree=2, distance=4)  # type: ignore[arg-type]
        simulator = TraceSimulator(Hierarchy((cache(64, 8),), prefetchers=(unit,)))
        simulator.run(addresses)
        level = simulator.statistics().levels[0]
        return level.misses, level.prefetches, level.useful_prefetches

    assert run("adjacent", [0, 64, 128 + 64, 128]) == (2, 2, 2)
    misses, _, useful = run("stream", [line * LINE for line in range(64)])
    assert misses == 2
    assert useful == 62
    assert run("stream", [line * LINE for line in (0, 7, 3, 29, 13)])[1] == 0
    misses, _, useful = run("stride", [line * 5 * LINE for line in range(20)])
    assert misses == 3
    assert useful == 17


def test_tlb_reach() -> None:
    tlb = TlbGeometry(4, 4, 16, 4, 4096)
    simulator = TraceSimulator(Hierarchy((cache(1024, 16),), tlb=tlb))
    pages = np.arange(16, dtype=np.uint64) * np.uint64(4096)
    simulator.run(pages)
    simulator.reset_statistics()
    simulator.run(np.tile(pages, 3))
    found = simulator.statistics()
    assert (found.tlb_accesses, found.tlb_l1_misses, found.tlb_walks) == (48, 48, 0)
    simulator.run(np.arange(17, dtype=np.uint64) * np.uint64(4096 * 4))
    simulator.reset_statistics()
    simulator.run(np.tile(np.arange(17, dtype=np.uint64) * np.uint64(4096 * 4), 2))
    assert simulator.statistics().tlb_walks == 34


def test_a_written_line_leaves_other_cores() -> None:
    h = Hierarchy((cache(4, 2), cache(16, 4, cores_per_instance=2)), cores=2)
    simulator = TraceSimulator(h)
    simulator.run([0, 0, 0], [0, 1, 0], [False, False, True])
    assert simulator.holds(0, 1, 0) == (False, False)
    assert simulator.holds(0, 0, 0) == (True, True)
    simulator.run([0], 1)
    assert simulator.holds(0, 0, 0) == (True, False)
    assert simulator.holds(1, 0, 0) == (True, True)
    assert simulator.statistics().transfers == 1


def test_interleaving_takes_turns() -> None:
    h = Hierarchy((cache(1, 2), cache(1, 4, cores_per_instance=2)), cores=2)
    simulator = TraceSimulator(h)
    simulator.run_interleaved([sweep(3, 2), sweep(3, 2)])
    found = simulator.statistics()
    assert found.memory_reads == 3  # the second core finds in the shared level what the first one fetched
    assert found.levels[1].accesses == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_bytes": 1000, "ways": 2}, "no whole number of sets"),
        ({"size_bytes": 4096, "ways": 0}, "ways must be a whole number"),
        ({"size_bytes": 48 * 64, "ways": 12, "policy": "plru"}, "tree-PLRU needs a power of two"),
        ({"size_bytes": 4096, "ways": 4, "line_bytes": 48}, "line_bytes must be a power of two"),
        ({"size_bytes": 4096, "ways": 4, "policy": "fifo"}, "choose from"),
    ],
)
def test_impossible_geometries_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CacheGeometry(**options)  # type: ignore[arg-type]


def test_a_shipped_cpu_becomes_a_hierarchy() -> None:
    h = hierarchy_of(load_machine("amd-epyc-9654"), cores=16)
    assert [h.instances(level) for level in range(3)] == [16, 16, 2]
    assert h.levels[2].inclusion == "exclusive"
    simulator = TraceSimulator(h)
    simulator.run(sweep(1000, 2), core=9)
    found = simulator.statistics()
    assert (found.memory_reads, found.tlb_walks) == (1000, 16)


def test_streams_and_cores_may_change_with_every_access() -> None:
    h = Hierarchy((cache(4, 2), cache(16, 4, cores_per_instance=2)), cores=2, tlb=TlbGeometry(4, 4, 16, 16))
    rng = np.random.default_rng(8)
    lines = np.repeat(rng.integers(0, 60, 800), rng.integers(1, 4, 800)).astype(np.uint64) * np.uint64(LINE)
    cores, streams = np.sort(rng.integers(0, 2, len(lines))), rng.integers(0, 3, len(lines))
    together, apart = TraceSimulator(h), TraceSimulator(h)
    together.run(lines, cores, stream=streams)
    for address, core, stream in zip(lines, cores, streams, strict=True):
        apart.run([address], int(core), stream=int(stream))
    one, many = together.statistics(), apart.statistics()
    assert np.array_equal(one.stream_hits, many.stream_hits)
    assert one.stream_hits[:3].sum(axis=1).tolist() == np.bincount(streams).tolist()
    assert [level.by_core.tolist() for level in one.levels] == [level.by_core.tolist() for level in many.levels]
    assert one.tlb_accesses == many.tlb_accesses == len(lines)
    with pytest.raises(ValueError, match="stream: 2 values for 3 addresses"):
        together.run(lines[:3], stream=[0, 1])


@given(
    policy=st.sampled_from(["plru", "srrip", "random"]),
    ways=st.sampled_from([1, 2, 4, 8]),
    sets=st.sampled_from([1, 2, 3]),
    lines=st.lists(st.integers(0, 40), max_size=200),
)
def test_other_policies_equal_the_plain_model(policy: str, ways: int, sets: int, lines: list[int]) -> None:
    model = PlainPolicy(sets, ways, policy, seed=9)
    geometry = CacheGeometry(sets * ways * LINE, ways, policy=policy)  # type: ignore[arg-type]
    simulator = TraceSimulator(Hierarchy((geometry,), seed=9))
    hits = 0
    for line in lines:
        simulator.run([line * LINE])
        hits += model.access(line)
        assert simulator.statistics().levels[0].hits == hits


PLAIN_LEVELS = st.lists(st.tuples(st.sampled_from([1, 2, 4]), st.integers(1, 16)), min_size=1, max_size=3)


@given(
    shape=PLAIN_LEVELS,
    calls=st.lists(
        st.tuples(
            st.lists(st.integers(0, 3000), max_size=60), st.sampled_from([1, 8, 64, 200]), st.booleans(), st.booleans()
        ),
        max_size=6,
    ),
)
def test_the_short_path_counts_and_keeps_what_the_general_one_does(shape: Any, calls: Any) -> None:
    h = Hierarchy(tuple(CacheGeometry(sets * ways * LINE, ways) for sets, ways in shape))
    short, general = TraceSimulator(h), TraceSimulator(h)
    general._plain = None
    for number, (places, size, write, streamed) in enumerate(calls):
        for simulator in (short, general):
            simulator.run(
                np.array(places, dtype=np.uint64) * np.uint64(8),
                writes=write,
                size_bytes=size,
                stream=number,
                non_temporal=streamed and number % 3 == 2,
            )
    one, other = short.statistics(), general.statistics()
    assert short._plain is not None
    assert (one.memory_reads, one.memory_writes, one.accesses) == (
        other.memory_reads,
        other.memory_writes,
        other.accesses,
    )
    assert [level.by_core.tolist() for level in one.levels] == [level.by_core.tolist() for level in other.levels]
    assert one.stream_hits.tolist() == other.stream_hits.tolist()
    assert one.reference_hits.tolist() == other.reference_hits.tolist()
    for line in range(400):
        for level in range(len(shape)):
            assert short.holds(level, 0, line * LINE) == general.holds(level, 0, line * LINE)
