"""Whether a line is still in its set: compiled arithmetic on the number of other lines that fell into it.

A set of W ways under LRU keeps a line if fewer than W others fell into its set before the line came back (Mattson et al. 1970;
Smith 1978; Hill and Smith 1989). Two kinds fall in: lines of table rows, each row touched or not by chance, and lines of arrays
that are read from end to end, which fill all sets nearly alike.
"""

from __future__ import annotations

from math import ceil, exp, log1p, sqrt

from numba import njit

CERTAIN = 4.5
"""Standard deviations beyond which the outcome is taken as certain."""

LONGEST = 48.0
"""Terms of a binomial distribution that are summed; a normal distribution beyond."""


@njit(nogil=True, _nrt=False, error_model="numpy")
def step(x: float, width: float) -> float:
    """A cubic from 0 to 1 over [-width, width]: with width = sqrt(5) standard deviations it has the slope and the width of a normal
    distribution."""
    u = min(max(x / width, -1.0), 1.0)
    return 0.5 + u * (0.75 - 0.25 * u * u)


@njit(nogil=True, _nrt=False, error_model="numpy")
def kept(ways: float, crowd: float, beside: float, mean: float, variance: float, even: float, spread: float) -> float:
    """Probability that a line is found.

    `mean`: other rows that fell into its set, a binomial number, each with `crowd` lines; `variance`: that of their number over its
    mean, at most 1. `beside`: other lines of the line's own row in the set. `even`: lines of other arrays, on average; `spread`: the
    variance of their number over the sets (at least that of two neighbouring whole numbers).
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
    if chance > 0.98 or most > LONGEST or mean * variance > 1.0:
        return step(ahead, 2.236 * crowd * sqrt(mean * variance) + width)
    chance = max(chance, 1e-9)
    trials = mean / chance
    odds = chance / (1.0 - chance)
    term = exp(trials * log1p(-chance))
    found = 0.0
    for m in range(int(most) + 1):
        found += term * step(room - crowd * m, width)
        term *= (trials - m) / (m + 1.0) * odds
        if term <= 0.0:
            break
    return min(found, 1.0)
