"""Addresses of a GEMM FFN with packed weights under a token-block x thread-grid schedule.

Groups of cores split the tokens, cores of a group the output columns. For every block of tokens a core passes over its panels
of 64 outputs; a panel's weights are read side by side with the activations of six tokens (32 on a matrix unit), again for the
next six: from memory once a block of tokens, from the nearest cache that holds a panel after that. A gated layer reads both its
panels before it writes one. Activations have the width that the GEMM reads; inputs and outputs of a layer are fp32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator import touches as t
from simulator.addressmap import AddressMap
from simulator.addresstasks import Program, Runs, Stage, Task, layer_norm, number, runs, shares, sweep
from simulator.lower_gemm import ACTIVATION_BYTES
from simulator.schedule import GemmSchedule
from simulator.workload import WEIGHT_BYTES, GemmFfn

PANEL_OUTPUTS = 64
_VECTOR_TOKENS, _TILE_TOKENS = 6, 32
_RUNS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class _Product:
    """One matrix product: its phase, packed panels, activations and outputs (first byte, bytes of a row)."""

    phase: str
    weights: int
    panel_bytes: int
    panels: int
    x: int
    x_bytes: int
    y: int
    y_stride: int
    y_bytes: int


def _panel_bytes(op: GemmFfn, depth: float, matrices: int) -> int:
    return int(-(-(depth * PANEL_OUTPUTS * matrices * WEIGHT_BYTES[op.dtype]) // 64)) * 64


def _multiply(p: _Product, tokens: range, panels: range, block: int, width: int) -> Iterator[Task]:
    """All panels of one core over its tokens, a block of them at a time."""
    names = number(p.phase, "weights", "activations", "outputs")
    lines = -(-p.x_bytes // 64)
    step = max(1, _RUNS_AT_ONCE // (lines * (width + 1) + width)) * width
    for begin in range(tokens.start, tokens.stop, block):
        end = min(begin + block, tokens.stop)
        for panel in panels:
            for first in range(begin, end, step):
                count = min(step, end - first)
                made = np.empty((-(-count // width) * lines * (width + 1) + count, 4), dtype=np.int64)
                y = p.y + first * p.y_stride + panel * p.y_bytes
                n = t.product(made, 0, p.weights + panel * p.panel_bytes, p.panel_bytes, p.x + first * p.x_bytes, p.x_bytes,
                              p.x_bytes, count, width, y, p.y_stride, p.y_bytes, names)  # fmt: skip
                yield Runs(made, n)


def gemm_layers(
    op: GemmFfn, schedule: GemmSchedule, program: Program, space: AddressMap | None = None
) -> Iterator[Stage]:
    """Stages of all calls and layers; `space` receives the memory map."""
    take = (AddressMap() if space is None else space).take
    batch, hidden, wide = program.batch, int(op.hidden), int(op.intermediate)
    element = int(ACTIVATION_BYTES[op.dtype])
    up_bytes, down_bytes = _panel_bytes(op, hidden, op.matrices - 1), _panel_bytes(op, wide, 1)
    up_panels, down_panels = -(-wide // PANEL_OUTPUTS), -(-hidden // PANEL_OUTPUTS)
    layers = [
        (take(f"up weights of layer {i}", up_panels * up_bytes), take(f"down weights of layer {i}", down_panels * down_bytes),
         take(f"layer norm of layer {i}", hidden * 8), take(f"swept after layer {i}", program.evicted_bytes))
        for i in range(program.layers)
    ]  # fmt: skip
    inputs = [take(f"inputs and outputs, {name}", batch * down_panels * PANEL_OUTPUTS * 4) for name in ("even", "odd")]
    quantised = op.dtype.startswith("int")
    normalised = take("normalised", batch * hidden * 4)
    x = take("quantised", batch * hidden) if quantised else normalised
    between = take("intermediate", batch * up_panels * PANEL_OUTPUTS * element)
    groups = int(max(1, min(schedule.token_splits, program.threads, batch)))
    columns = max(1, program.threads // groups)
    width = _TILE_TOKENS if schedule.use_tiles else _VECTOR_TOKENS

    def product(p: _Product) -> tuple[Any, ...]:
        parts = []
        for core in range(program.threads):
            tokens = shares(batch, groups, core // columns) if core < groups * columns else range(0)
            panels = shares(p.panels, columns, core % columns)
            block = int(max(1, min(schedule.token_block, len(tokens))))
            parts.append(_multiply(p, tokens, panels, block, width))
        return tuple(parts)

    row = PANEL_OUTPUTS * element
    for call in range(program.calls):
        for i, (up, down, norm, swept) in enumerate(layers):
            yield Stage(call, i, _normalise(op, program, inputs[i % 2], norm, normalised))
            if quantised:
                yield Stage(call, i, _quantise(op, program, normalised, x))
            yield Stage(call, i, product(_Product("gemm_up", up, up_bytes, up_panels, x, hidden * element, between,
                                                  wide * element, row)))  # fmt: skip
            yield Stage(call, i, product(_Product("gemm_down", down, down_bytes, down_panels, between, wide * element,
                                                  inputs[1 - i % 2], hidden * 4, PANEL_OUTPUTS * 4)))  # fmt: skip
            if program.evicted_bytes >= 1:
                yield Stage(call, i, tuple(iter([sweep(swept, program.evicted_bytes)]) for _ in range(program.threads)))


def _normalise(op: GemmFfn, program: Program, x: int, norm: int, to: int) -> tuple[Any, ...]:
    hidden = int(op.hidden)
    size = hidden * (2 if op.dtype == "bf16" else 4)
    parts = [shares(program.batch, program.threads, core) for core in range(program.threads)]
    return tuple(
        iter([layer_norm(x, hidden, norm, (to,), size, 0, part.start, part.stop)] if part else []) for part in parts
    )


def _quantise(op: GemmFfn, program: Program, normalised: int, to: int) -> tuple[Any, ...]:
    """Normalised fp32 rows twice (largest magnitude, then rounding) into bytes."""
    hidden = int(op.hidden)
    read, written = number("quantise", "input", "activations")
    parts = []
    for core in range(program.threads):
        part = shares(program.batch, program.threads, core)
        token = np.arange(part.start, part.stop)[:, None]
        starts = np.concatenate([normalised + token * hidden * 4] * 2 + [to + token * hidden], axis=1)
        made = runs(starts, [hidden * 4, hidden * 4, hidden], [read, read, written], [t.READ, t.READ, t.WRITE])
        parts.append(iter([made] if part else []))
    return tuple(parts)
