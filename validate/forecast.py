"""Predictions of held-out points with their intervals, made from a calibration alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simulator.analytic import layer_seconds
from simulator.explain import stack_of
from validate.calibration import Calibrated
from validate.discrepancy import half_width
from validate.expected import phases_of, predicted, resources_of
from validate.points import Point, record_of

Line = dict[str, Any]

DEVIATIONS_90 = 1.645


def forecast(point: Point, calibration: Calibrated) -> Line:
    """Seconds of a layer and call: by phase, in all, their 90 % interval, and what the model says without calibration.

    The interval is the spread over other samples of the microbenchmarks and the model's own error, both as logarithms.
    """
    machine = calibration.of(point)
    phases = predicted(point, machine)
    total = sum(phases.values())
    drawn = [math.log(sum(predicted(point, other).values())) for other in calibration.draws_of(point)]
    spread = DEVIATIONS_90 * float(np.std(drawn)) if drawn else 0.0
    width = math.exp(math.hypot(spread, half_width(point)))
    return {
        "point": record_of(point),
        "seconds": total,
        "low_seconds": total / width,
        "high_seconds": total * width,
        "phases": phases,
        "parameter_spread": spread,
        "before_seconds": sum(predicted(point, calibration.before).values()),
        "explanation": explanation(point, calibration),
    }


def explanation(point: Point, calibration: Calibrated) -> str:
    """What the model holds the time of a point to be made of: phases, then resources, each as a share."""
    machine = calibration.of(point)
    r = resources_of(machine, point.threads)
    phases = phases_of(point, r)
    shares = predicted(point, machine)
    total = sum(shares.values())
    largest = sorted(shares, key=lambda name: -shares[name])[:2]
    text = ", ".join(f"{name} {shares[name] / total:.0%}" for name in largest if shares[name] > 0.05 * total)
    costs = stack_of(lambda ideal: layer_seconds(phases, r, ideal)).seconds
    binding = sorted(costs, key=lambda name: -costs[name])[:3]
    return f"{text}; bound by " + ", ".join(f"{n} {costs[n] / total:.0%}" for n in binding if costs[n] > 0.05 * total)
