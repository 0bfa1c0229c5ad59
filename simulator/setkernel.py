# mypy: disable-error-code="untyped-decorator, no-any-return"
"""Whether a line is still in its set: compiled arithmetic on the number of other lines that fell into it.

A set of W ways under LRU keeps a line if fewer than W others fell into its set before the line came back (Mattson et al. 1970;
Smith 1978; Hill and Smith 1989). Two kinds fall in: lines of table rows, each row touched or not by chance, and lines of arrays
that are read from end to end, which fill all sets nearly alike.
"""

from __future__ import annotations

from math import ceil, exp, log1p, sqrt

from simulator.compiled import kernel

CERTAIN = 4.5
"""Standard deviations beyond which the outcome is taken as certain."""

NORMAL, LONGEST = 0.8, 48.0
"""Variance and terms of a binomial distribution beyond which it counts as normal but for its skewness."""


@kernel
def step(x: float, width: float) -> float:
    """A cubic from 0 to 1 over [-width, width]: with width = sqrt(5) standard deviations it has the slope and the width of a
    normal distribution. A line over [-1/2, 1/2]: two neighbouring whole numbers."""
    u = min(max(x / width, -1.0), 1.0)
    return 0.5 + 0.5 * u if width <= 0.5 else 0.5 + u * (0.75 - 0.25 * u * u)


@kernel
def normal(z: float, skewness: float) -> float:
    """P(Z <= z) of a nearly normal Z: a logistic curve within 0.0002 of the normal distribution (Page 1977, its cubic term), and
    Edgeworth's first correction for skewness."""
    share = 1.0 / (1.0 + exp(-z * (1.5976 + 0.070566 * z * z)))
    share -= skewness / 6.0 * (z * z - 1.0) * 0.39894 * exp(-0.5 * z * z)
    return min(max(share, 0.0), 1.0)


@kernel
def kept(ways: float, crowd: float, beside: float, mean: float, variance: float, even: float, spread: float) -> float:
    """Probability that a line is found.

    `mean`: other rows that fell into its set, a binomial number, each with `crowd` lines; `variance`: that of their number
    over its mean, at most 1. `beside`: other lines of the line's own row in the set. `even`: lines of other arrays, on
    average; `spread`: the variance of their number over the sets (at least that of two neighbouring whole numbers).
    """
    whole = ceil(ways - 1e-9)
    even += whole - ways  # part of the sets have a way less
    room = whole - 0.5 - beside - even  # up to here half a line more is one line
    width = max(2.236 * sqrt(max(spread, 0.0)), 0.5)
    deviation = crowd * sqrt(mean * variance) + width
    ahead = room - crowd * mean
    if ahead > CERTAIN * deviation:
        return 1.0
    if ahead < -CERTAIN * deviation or room < -width:
        return 0.0
    chance = 1.0 - variance
    most = (room + width) / crowd
    if mean <= 1e-9:
        return step(room, width)
    rows = crowd * crowd * mean * variance
    if chance > 0.98 or most > LONGEST or mean * variance > NORMAL:
        total = rows + max(spread, 0.05)
        return normal(ahead / sqrt(total), crowd * rows * (variance - chance) / (total * sqrt(total)))
    chance = max(chance, 1e-9)
    trials = mean / chance
    odds = chance / (1.0 - chance)
    term = exp(trials * log1p(-chance))
    found, m = 0.0, 0.0
    certain = min((room - width) / crowd, trials)  # up to here there is room whatever the others
    while m <= certain:
        found += term
        term *= (trials - m) * odds / (m + 1.0)
        m += 1.0
    while m <= most and term > 0.0:
        found += term * step(room - crowd * m, width)
        term *= (trials - m) * odds / (m + 1.0)
        m += 1.0
    return min(found, 1.0)
