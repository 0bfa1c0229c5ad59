"""Why a prediction is what it is: time stack, binding resource, intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.analytic import RESOURCES
from simulator.machine import Machine
from simulator.predict import Prediction, evaluate
from simulator.uncertainty import perturbed
from simulator.workload import Workload

if TYPE_CHECKING:
    from simulator.events import EventRun


@dataclass(frozen=True)
class TimeStack:
    """Seconds of one call that each resource is responsible for; they add up to the predicted time.

    Resources are made ideal one after another from the innermost outwards; each drop is that resource's share.
    """

    seconds: dict[str, float]

    @property
    def binding(self) -> str:
        """The resource with the largest share."""
        return max(self.seconds, key=lambda name: self.seconds[name])

    @property
    def runner_up(self) -> str:
        """The resource with the second largest share."""
        return sorted(self.seconds, key=lambda name: -self.seconds[name])[1]


def stack_of(seconds_with: Callable[[frozenset[str]], Any]) -> TimeStack:
    """Time stack of whatever takes `seconds_with(ideal)` seconds where the resources `ideal` cost nothing."""
    ideal: frozenset[str] = frozenset()
    previous = float(np.max(seconds_with(ideal)))
    seconds: dict[str, float] = {}
    for resource in RESOURCES:
        ideal |= {resource}
        now = float(np.max(seconds_with(ideal)))
        seconds[resource] = previous - now
        previous = now
    seconds["compute"] += previous
    return TimeStack(seconds)


def time_stack(machine: Machine, workload: Workload, prediction: Prediction) -> TimeStack:
    """Time stack of `prediction` (its schedule is kept)."""
    return stack_of(lambda ideal: evaluate(machine, workload, prediction.schedule, ideal))


def run_stack(run: EventRun, layers: float) -> TimeStack:
    """The event engine's own accounts of one call of `layers` layers: what cores did and waited for, mean over the cores."""
    return TimeStack({name: run.stack.get(name, 0) * 1e-12 * layers for name in RESOURCES})


@dataclass(frozen=True)
class Interval:
    """A 90 % interval."""

    low: float
    high: float


def intervals(machine: Machine, runs: list[tuple[Workload, Prediction]], samples: int = 200) -> list[Interval]:
    """90 % interval of seconds_per_call of each run, the schedules kept, parameters drawn together."""
    return [_interval(draw) for draw in sample_seconds(machine, runs, samples)]


def ratio_interval(
    machine: Machine, a: tuple[Workload, Prediction], b: tuple[Workload, Prediction], samples: int = 200
) -> Interval:
    """90 % interval of seconds(a) / seconds(b); both see the same draws, so what they share cancels."""
    first, second = sample_seconds(machine, [a, b], samples)
    return _interval(first / second)


def sample_seconds(machine: Machine, runs: list[tuple[Workload, Prediction]], samples: int = 200) -> list[Any]:
    """seconds_per_call of each run for `samples` joint draws of the spec's uncertain values."""
    drawn = perturbed(machine, samples)
    return [np.broadcast_to(evaluate(drawn, w, p.schedule), (samples, 1))[:, 0] for w, p in runs]


def _interval(values: Any) -> Interval:
    low, high = np.quantile(values, (0.05, 0.95))
    return Interval(float(low), float(high))
