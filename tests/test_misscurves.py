"""Miss curves: the first guess on every machine, what fitted ones are held to, and the way from footprints to distances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.locality import by_distance, on_curve
from simulator.machine import Curve, Machine
from simulator.misscurves import KNOTS, rising, with_curves
from simulator.resources import resolve
from simulator.specfile import available_machines, load_machine

MACHINES = available_machines()
FIELDS = ("cyclic_miss_curve", "random_miss_curve")


def curves(machine: Machine) -> list[Curve]:
    """All curves of the second and third level."""
    levels = (getattr(machine.caches, name) for name in KNOTS)
    return [getattr(cache, field) for cache in levels if cache is not None for field in FIELDS]


def is_share_that_never_falls(curve: Curve) -> bool:
    x, y = np.array(curve).T
    return bool((np.diff(x) > 0.0).all() and (np.diff(y) >= 0.0).all() and y[0] >= 0.0 and y[-1] <= 1.0)


def disturbed(machine: Machine, seed: int) -> Machine:
    """Curves as no fit should leave them: noisy, falling, below 0 and above 1."""
    random = np.random.default_rng(seed)
    for name in KNOTS:
        cache = getattr(machine.caches, name)
        if cache is not None:
            changes = {
                field: tuple((x, float(y + random.normal(0.0, 0.3))) for x, y in getattr(cache, field))
                for field in FIELDS
            }
            machine = replace(machine, caches=replace(machine.caches, **{name: replace(cache, **changes)}))  # type: ignore[arg-type]
    return machine


@pytest.mark.parametrize("name", MACHINES)
def test_the_first_guess_is_a_curve_from_nothing_at_its_first_knot(name: str) -> None:
    machine = with_curves(load_machine(name))
    found = curves(machine)
    assert len(found) == (2 if machine.caches.L3 is None else 4)
    for curve in found:
        assert is_share_that_never_falls(curve)
        assert curve[0][1] == 0.0


@pytest.mark.parametrize("name", MACHINES)
def test_knots_are_shares_of_a_levels_own_size_and_none_of_it_is_a_neighbours(name: str) -> None:
    machine = with_curves(load_machine(name))
    levels = resolve(machine, 1.0).levels
    for index, (level, knots) in enumerate(KNOTS.items(), 1):
        cache = getattr(machine.caches, level)
        if cache is None:
            continue
        capacity = float(np.asarray(levels[index].capacity_bytes))
        assert [x * capacity / cache.size_bytes for x, _ in cache.random_miss_curve] == pytest.approx(list(knots))
    assert machine.caches.L3 is None or machine.caches.L3.available_fraction == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_fitted_becomes_shares_that_never_fall(seed: int) -> None:
    machine = disturbed(with_curves(load_machine("amd-epyc-9755")), seed)
    assert not all(map(is_share_that_never_falls, curves(machine)))
    found = rising(machine)
    assert all(map(is_share_that_never_falls, curves(found)))
    for before, after in zip(curves(machine), curves(found), strict=True):
        assert [x for x, _ in after] == [x for x, _ in before]
        assert all(new >= min(max(old, 0.0), 1.0) for (_, old), (_, new) in zip(before, after, strict=True))
    assert rising(found) == found


@pytest.mark.parametrize("seed", range(5))
def test_alike_likely_rows_miss_at_least_what_cannot_fit(seed: int) -> None:
    found = rising(disturbed(with_curves(load_machine("amd-epyc-9755")), seed))
    bounded = 0
    for name in KNOTS:
        for x, y in getattr(found.caches, name).random_miss_curve:
            assert y >= 1.0 - 1.0 / x
            bounded += x > 1.0
    assert bounded > 4


def test_a_sweep_may_miss_less_than_what_cannot_fit() -> None:
    """The bound is one of rows alone: replacement that resists scans keeps a part of a sweep."""
    machine = with_curves(load_machine("amd-epyc-9755"))
    low = tuple((x, 0.01) for x, _ in machine.caches.L2.cyclic_miss_curve)
    L2 = replace(machine.caches.L2, cyclic_miss_curve=low, random_miss_curve=low)
    found = rising(replace(machine, caches=replace(machine.caches, L2=L2))).caches.L2
    assert found.cyclic_miss_curve == low
    assert found.random_miss_curve[-1][1] > 0.5


def test_a_machine_without_curves_stays_as_it_is() -> None:
    machine = load_machine("amd-epyc-9755")
    assert rising(machine) == machine


def mean_up_to(curve: Curve, x: float) -> float:
    places = np.linspace(0.0, x, 20_001)
    return float(np.trapezoid(on_curve(curve, places), places) / x)


def footprint_curve(wanted: Curve, knots: tuple[float, ...]) -> Curve:
    """Miss share of all rows of a footprint, each as `wanted` says of its distance."""
    return tuple((x, mean_up_to(wanted, x)) for x in knots)


WANTED: dict[str, Curve] = {
    "all that does not fit": ((0.0, 0.0), (0.9999, 0.0), (1.0001, 1.0), (9.0, 1.0)),
    "hashed": ((0.0, 0.0), (0.6, 0.02), (0.9, 0.3), (1.2, 0.8), (1.8, 1.0)),
    "neighbours": ((0.0, 0.01), (0.3, 0.1), (0.8, 0.4), (2.0, 0.9), (4.0, 1.0)),
    "half of it always": ((0.0, 0.5), (9.0, 0.5)),
}


@pytest.mark.parametrize("level", KNOTS)
@pytest.mark.parametrize("name", WANTED)
def test_by_distance_leads_back_to_the_shares_by_footprint(name: str, level: str) -> None:
    """Within what straight lines between knots can tell."""
    given = footprint_curve(WANTED[name], KNOTS[level])
    found = by_distance(given)
    for x, y in given:
        assert mean_up_to(found, x) == pytest.approx(y, abs=0.05)


@pytest.mark.parametrize("name", ["hashed", "neighbours", "half of it always"])
def test_by_distance_finds_the_curve_that_footprints_came_from(name: str) -> None:
    found = by_distance(footprint_curve(WANTED[name], tuple(np.arange(0.1, 4.0, 0.1))))
    for x in np.linspace(0.15, 3.5, 40):
        assert on_curve(found, float(x)) == pytest.approx(on_curve(WANTED[name], float(x)), abs=0.03)


@pytest.mark.parametrize("first", [0.0, 0.25, 1.0])
def test_nothing_that_fits_misses_before_the_first_knot(first: float) -> None:
    found = by_distance(((1.0, first), (1.25, first + 0.2), (2.0, 0.7)))
    for x in (0.0, 0.3, 0.99, 1.0):
        assert on_curve(found, x) == first


@pytest.mark.parametrize("seed", range(20))
def test_by_distance_never_falls_and_is_no_less_than_by_footprint(seed: int) -> None:
    """Of what is drawn from, the rows at the largest distance miss most."""
    machine = rising(disturbed(with_curves(load_machine("amd-epyc-9755")), seed))
    for cache in (machine.caches.L2, machine.caches.L3):
        assert cache is not None
        found = by_distance(cache.random_miss_curve)
        assert is_share_that_never_falls(found)
        assert (found[0][0], found[0][1]) == (0.0, cache.random_miss_curve[0][1])
        assert found[-1][0] == 2.0 * cache.random_miss_curve[-1][0]
        assert found[-1][1] >= cache.random_miss_curve[-1][1]


def test_no_curve_has_none_by_distance() -> None:
    assert by_distance(()) == ()
    assert is_share_that_never_falls(by_distance(((0.0, 0.0), (1.0, 0.5))))
