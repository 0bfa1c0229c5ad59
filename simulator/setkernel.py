"""Whether a line is still in its set: compiled arithmetic on the number of other lines that fell into it.

A set of W ways under LRU keeps a line if fewer than W others fell into its set before the line came back (Mattson et al. 1970;
Smith 1978; Hill and Smith 1989). Two kinds fall in: lines of table rows, each row touched or not by chance, and lines of arrays
that are read from end to end, which fill all sets nearly alike.
"""

from __future__ import annotations

from math import ceil, exp, floor, log1p, sqrt

from numba import njit

LONGEST = 48
"""Terms of a binomial distribution that are summed; a normal distribution beyond."""

REACH = 2.6
"""Standard deviations over which lines of arrays are summed."""

END = exp(-0.5 * REACH * REACH)


@njit(nogil=True, _nrt=False, error_model="numpy")
def at_most(k: float, mean: float, chance: float) -> float:
    """P(N <= k) of a binomial N of mean / chance trials (not necessarily a whole number)."""
    trials = mean / chance
    if k < 0.0:
        return 0.0
    if k >= trials or mean <= 1e-12:
        return 1.0
    deviation = sqrt(max(mean * (1.0 - chance), 0.0))
    if mean + 6.0 * deviation + 2.0 <= k:
        return 1.0
    if mean - 6.0 * deviation - 2.0 >= k:
        return 0.0
    if chance > 0.98 or k > LONGEST:
        # A cubic with the slope and width of a normal distribution, half a line wide at least.
        u = min(max((k + 0.5 - mean) / (2.236 * deviation + 0.5), -1.0), 1.0)
        return 0.5 + u * (0.75 - 0.25 * u * u)
    odds = chance / (1.0 - chance)
    term = exp(trials * log1p(-chance))
    total = term
    for m in range(int(k)):
        term *= (trials - m) / (m + 1.0) * odds
        if term <= 0.0:
            break
        total += term
    return min(total, 1.0)


@njit(nogil=True, _nrt=False, error_model="numpy")
def kept(ways: float, crowd: float, beside: float, mean: float, variance: float, even: float, spread: float) -> float:
    """Probability that a line is found.

    `mean`: other rows that fell into its set, each with `crowd` lines; `variance`: that of their number over its mean, at most 1.
    `beside`: other lines of the line's own row in the set. `even`: lines of other arrays, on average; `spread`: the variance
    of their number over the sets (at least that of two neighbouring whole numbers).
    """
    whole = ceil(ways - 1e-9)
    even += whole - ways  # part of the sets have a way less
    chance = min(max(1.0 - variance, 1e-9), 1.0)
    low = floor(even)
    more = even - low
    room = whole - 1.0 - beside - low
    if spread - more * (1.0 - more) <= 0.02:
        found = 0.0
        if more < 1.0:
            found += (1.0 - more) * at_most(floor(room / crowd + 1e-9), mean, chance)
        if more > 0.0:
            found += more * at_most(floor((room - 1.0) / crowd + 1e-9), mean, chance)
        return found
    found, total = 0.0, 0.0
    reach = REACH * sqrt(spread)
    for k in range(int(floor(-reach)), int(ceil(reach)) + 2):
        # A normal distribution that ends where the sum does, so that nothing jumps with the mean.
        weight = max(exp(-0.5 * (k - more) * (k - more) / spread) - END, 0.0)
        lines = max(k, -low)
        total += weight
        found += weight * at_most(floor((room - lines) / crowd + 1e-9), mean, chance)
    return found / total
