"""What the address generators are made of: streams, tasks that fill buffers, stages between barriers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator import touches as t

PROJECT_TILE = 48
"""Tokens of a block between LayerNorm and code+score (kernels/plan.py), a multiple of the six of a block product."""

STREAMS: tuple[tuple[str, str], ...] = (
    ("layer_norm", "input"),
    ("layer_norm", "parameters"),
    ("layer_norm", "normalised"),
    ("projection", "projection_weights"),
    ("projection", "activations"),
    ("projection", "stage_buffers"),
    ("projection", "bias"),
    ("projection", "projected"),
    ("code_score", "projected"),
    ("code_score", "codes"),
    ("code_score", "scores"),
    ("gather", "codes"),
    ("gather", "scores"),
    ("gather", "table_rows"),
    ("gather", "accumulators"),
    ("gather", "bias"),
    ("reduction", "partial_outputs"),
    ("reduction", "outputs"),
    ("quantise", "input"),
    ("quantise", "activations"),
    ("gemm_up", "weights"),
    ("gemm_up", "activations"),
    ("gemm_up", "outputs"),
    ("gemm_down", "weights"),
    ("gemm_down", "activations"),
    ("gemm_down", "outputs"),
    ("between_layers", "evicted"),
)
"""(phase, array) of every stream number; names as the lowering has them, where it has them."""

NUMBER = {names: number for number, names in enumerate(STREAMS)}


def number(phase: str, *names: str) -> NDArray[np.int64]:
    """Stream numbers of arrays of one phase."""
    return np.array([NUMBER[phase, name] for name in names], dtype=np.int64)


@dataclass(frozen=True)
class Program:
    """What surrounds an operator: tokens a call, cores, layers, seed, calls, bytes swept after a layer, recorded rows."""

    batch: int
    threads: int
    layers: int
    seed: int
    calls: int
    evicted_bytes: float
    recorded: Any = None


class Task(Protocol):
    """A stretch of one core's accesses."""

    done: bool

    def fill(self, addresses: Any, streams: Any, writes: Any, n: int, stop: int, piece: int) -> int:
        """Writes accesses from n on; returns where it ended. It stops at about `stop`, or at its end (then `done`)."""


@dataclass
class Runs:
    """Runs of bytes, [count, 4] (touches.expand)."""

    rows: NDArray[np.int64]
    count: int
    state: NDArray[np.int64] = field(default_factory=lambda: np.array([0, -1, 0], dtype=np.int64))
    done: bool = False

    def fill(self, addresses: Any, streams: Any, writes: Any, n: int, stop: int, piece: int) -> int:
        """See Task."""
        n = t.expand(self.rows, self.count, self.state, piece, addresses[:stop], streams, writes, n)
        self.done = bool(self.state[0] >= self.count)
        return n


@dataclass
class Gather:
    """A weighted gather (touches.gather)."""

    parameters: NDArray[np.int64]
    rows: NDArray[np.uint32]
    state: NDArray[np.int64]
    done: bool = False

    def fill(self, addresses: Any, streams: Any, writes: Any, n: int, stop: int, piece: int) -> int:
        """See Task."""
        self.parameters[t.PIECE] = piece
        n = t.gather(self.parameters, self.rows, self.state, addresses, streams, writes, n, stop)
        self.done = bool(self.state[0] >= self.parameters[t.TOKENS_END])
        return n


@dataclass(frozen=True)
class Stage:
    """What all cores do between two barriers; `spare`: lines that a task may write beyond where it should stop."""

    call: int
    layer: int
    cores: tuple[Iterable[Task], ...]
    spare: int = 0


def runs(*columns: Any) -> Runs:
    """Runs of broadcast columns (start, bytes, stream, kind), in C order."""
    rows = np.stack(np.broadcast_arrays(*(np.asarray(c, dtype=np.int64) for c in columns)), axis=-1).reshape(-1, 4)
    return Runs(np.ascontiguousarray(rows), len(rows))


def layer_norm(x: int, hidden: int, parameters: int, to: tuple[int, ...], row_bytes: int, first: int, begin: int,
               end: int) -> Runs:  # fmt: skip
    """LayerNorm of tokens [begin, end): three passes over a token, its scale and shift, each copy of the result.

    The copies are rows of `row_bytes` that begin with token `first`.
    """
    read, scale, written = number("layer_norm", "input", "parameters", "normalised")
    tokens = np.arange(begin, end)[:, None]
    starts = [x + tokens * hidden * 4] * 3 + [np.full_like(tokens, parameters)]
    starts += [copy + (tokens - first) * row_bytes for copy in to]
    copies = len(to)
    return runs(
        np.concatenate(starts, axis=1),
        [hidden * 4] * 3 + [hidden * 8] + [row_bytes] * copies,
        [read] * 3 + [scale] + [written] * copies,
        [t.READ] * 4 + [t.WRITE] * copies,
    )


def sweep(start: int, size: float) -> Runs:
    """What other operators read between two layers."""
    return runs([start], [max(1, int(size))], number("between_layers", "evicted"), [t.READ])


def shares(count: int, parts: int, part: int) -> range:
    """The part-th of `parts` nearly equal ranges of `count` things."""
    return range(count * part // parts, count * (part + 1) // parts)
