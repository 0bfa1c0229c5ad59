"""The GEMM feed-forward network as phases: LayerNorm, (quantise,) up, activation, down.

A library keeps packed weights; a grid of threads splits tokens and columns. Weights are streamed once per token block
and thread group; siblings on a shared cache find what the first of them fetched.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.lowering import FAR, Context, dealt, layer_norm, sequential, sharing
from simulator.machine import interpolate_log
from simulator.phases import Access, Phase, Stream, Work
from simulator.resources import Resources
from simulator.schedule import GemmSchedule
from simulator.workload import WEIGHT_BYTES, GemmFfn

REGISTER_TOKENS = 6.0
"""Tokens that share one load of a weight vector in the micro-kernel (64 x 6 fp32 on AVX-512)."""

SIDE_BY_SIDE_BYTES = 4096.0
"""What one group of threads reads before another one gets to the same weights: they start at a barrier and walk alike."""

ACTIVATION_BYTES = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "int8-weight-only": 1.0, "int4-weight-only": 1.0}
"""Bytes of one activation as the GEMM reads it; weight-only formats quantise activations by groups on the fly."""

ACTIVATION_OPERATIONS = {"gelu": (16.0, 16.0, 1.0), "silu": (4.0, 8.0, 1.0), "relu": (0.0, 1.0, 0.0)}
"""(multiply-adds, other operations, exponentials) an element: erf polynomial, x / (1 + exp(-x)), maximum."""


def lower_gemm(op: GemmFfn, schedule: GemmSchedule, r: Resources, context: Context) -> tuple[Phase, ...]:
    """Phases of one call of one layer."""
    batch, threads = context.batch, r.threads
    groups = np.minimum(np.minimum(schedule.token_splits, threads), np.maximum(batch, 1.0))
    columns_split = threads / groups
    tokens = batch / groups
    block = np.minimum(schedule.token_block, tokens)
    passes = np.ceil(tokens / block)
    phases = [layer_norm(op.hidden, r, context)]
    up_outputs = op.intermediate * (2.0 if op.gated else 1.0)
    grid = _Grid(op, schedule, r, context, groups, columns_split, tokens, block, passes)
    if op.dtype in ("int8", "int8-weight-only", "int4-weight-only"):
        phases.append(_quantise("quantise_input", batch * op.hidden, r, context))
    phases.append(grid.gemm("gemm_up", op.hidden, up_outputs, input_far=False))
    phases.append(_activation(op, r, context))
    phases.append(grid.gemm("gemm_down", op.intermediate, op.hidden, input_far=True))
    return tuple(phases)


class _Grid:
    """The thread grid of one call and the byte counts that both GEMMs share."""

    def __init__(self, op: GemmFfn, schedule: GemmSchedule, r: Resources, context: Context,
                 groups: Any, columns_split: Any, tokens: Any, block: Any, passes: Any) -> None:  # fmt: skip
        self.op, self.schedule, self.r, self.context = op, schedule, r, context
        self.groups, self.columns_split, self.tokens, self.block, self.passes = (
            groups,
            columns_split,
            tokens,
            block,
            passes,
        )
        self.weight_bytes = WEIGHT_BYTES[op.dtype]
        self.layer_weights = op.matrices * op.hidden * op.intermediate * self.weight_bytes
        self.sharers = sharing(r)
        self.columns_shared = np.minimum(1.0, self.sharers / columns_split)
        self.fetching_groups = np.minimum(r.threads / self.sharers, groups)
        self.element = ACTIVATION_BYTES[op.dtype]
        self.efficiency = self._efficiency()

    def _efficiency(self) -> Any:
        kind = {"fp32": "fp32", "bf16": "bf16"}.get(self.op.dtype, "int8")
        tokens = np.maximum(self.block, 1.0)
        vector = interpolate_log(self.r.gemm_efficiency[kind], tokens)
        tile = interpolate_log(self.r.gemm_efficiency["tile"], tokens)
        return np.where(self.schedule.use_tiles > 0.0, tile, vector)

    def _work(self, depth: Any, outputs: Any) -> Work:
        op, r, batch = self.op, self.r, self.context.batch
        macs = batch * depth * outputs
        kind = "macs_fp32" if op.dtype == "fp32" else "macs_bf16" if op.dtype == "bf16" else "macs_int8"
        operand = 4.0 if op.dtype == "fp32" else 2.0 if op.dtype == "bf16" else 1.0
        tiles = self.schedule.use_tiles
        vector_macs = macs * (1.0 - tiles)
        rows = np.maximum(self.block, 1.0)
        tile_macs = tiles * macs * np.ceil(rows / r.tile_rows) * r.tile_rows / rows
        alu: Any = 0.0
        scale: Any = 0.0
        weights_per_pass = depth * outputs * self.groups * self.passes
        if op.dtype.endswith("weight-only"):
            scale = macs / 32.0  # one fp32 multiply-add per group of 32 weights
            alu = weights_per_pass * (
                0.5 if op.dtype.startswith("int4") else 0.0
            )  # and + shift per byte of two weights
        if op.dtype == "fp32":
            tile_macs = np.where(tiles > 0.0, np.inf, 0.0)
        return Work(
            **{kind: vector_macs + (scale if kind == "macs_fp32" else 0.0)},
            **({} if kind == "macs_fp32" else {"macs_fp32": scale}),
            macs_tile=tile_macs,
            tile_element_bytes=operand,
            alu=alu,
            load_bytes=vector_macs * operand * (1.0 / np.minimum(rows, REGISTER_TOKENS) + 1.0 / REGISTER_TOKENS)
            + tiles * macs * operand / 16.0,
            store_bytes=batch * outputs * 4.0,
            efficiency=self.efficiency,
        )

    def _weights(self, depth: Any, outputs: Any) -> Stream:
        op, context = self.op, self.context
        size = depth * outputs * self.weight_bytes
        everything = context.layers * self.layer_weights
        rest = context.layers * context.evicted_bytes + self.tokens * (
            op.hidden * (8.0 + self.element) + op.intermediate * self.element
        )
        core_far = everything / self.columns_split + rest
        shared_far = everything * self.columns_shared + rest * np.maximum(1.0, self.sharers / self.columns_split)
        # Groups walk the panels side by side: a sibling finds what the first of them fetched a moment ago.
        beside = SIDE_BY_SIDE_BYTES * self.groups
        core_near = size / self.columns_split + self.block * (depth + outputs) * self.element
        shared_near = size * self.columns_shared + self.block * (depth + outputs) * self.element
        return Stream(
            "weights",
            "sequential",
            (
                Access(size * self.fetching_groups, core_far, shared_far),
                Access(size * (self.groups - self.fetching_groups), core_far, np.minimum(beside, shared_far)),
                Access(
                    size * self.groups * (self.passes - 1.0),
                    np.minimum(core_near, core_far),
                    np.minimum(shared_near, shared_far),
                ),
            ),
        )

    def gemm(self, name: str, depth: Any, outputs: Any, input_far: bool) -> Phase:
        """One matrix product of all tokens with a depth x outputs weight matrix."""
        op, r, context = self.op, self.r, self.context
        batch = context.batch
        activations = self.block * (op.hidden + op.intermediate) * self.element
        matrix = depth * outputs * self.weight_bytes
        core_distance = activations + matrix / self.columns_split
        shared_distance = (
            activations * np.maximum(1.0, self.sharers / self.columns_split) + matrix * self.columns_shared
        )
        if input_far:
            core_distance = np.where(self.columns_split > 1.0, FAR, core_distance)
        column_units = np.maximum(outputs / r.lanes, 1.0)
        calls: Any = 1.0
        if op.dtype == "int8":
            calls = r.library_call_int8_seconds / np.maximum(r.library_call_seconds, 1e-12)
        by_tokens, by_columns = dealt(batch, self.groups), dealt(column_units, self.columns_split)
        return Phase(
            name=name,
            work=self._work(depth, outputs),
            streams=(
                self._weights(depth, outputs),
                sequential(
                    "activations", batch * depth * self.element * self.columns_split, core_distance, shared_distance
                ),
                sequential("outputs", batch * outputs * self.element, activations, shared_distance, writes=1.0),
            ),
            imbalance=by_tokens["imbalance"] * by_columns["imbalance"],
            workers=np.minimum(batch, self.groups) * np.minimum(column_units, self.columns_split),
            pieces=np.where(by_tokens["imbalance"] > 1.0, by_tokens["pieces"], 1.0)
            * np.where(by_columns["imbalance"] > 1.0, by_columns["pieces"], 1.0),
            tile_clock=self.schedule.use_tiles,
            barriers=1.0,
            library_calls=self.passes * calls,
            library=True,
        )


def _quantise(name: str, elements: Any, r: Resources, context: Context) -> Phase:
    per_core = 5.0 * elements / r.threads
    return Phase(
        name=name,
        work=Work(alu=2.0 * elements, macs_fp32=elements, convert=1.25 * elements, load_bytes=8.0 * elements,
                  store_bytes=elements, efficiency=r.kernel_efficiency),
        streams=(sequential("input", 4.0 * elements, per_core, per_core * sharing(r)),),
        **dealt(context.batch, r.threads),
    )  # fmt: skip


def _activation(op: GemmFfn, r: Resources, context: Context) -> Phase:
    """Activation fused into the up product's write-back: arithmetic only, no traffic of its own."""
    elements = context.batch * op.intermediate
    macs, alu, exps = ACTIVATION_OPERATIONS[op.activation]
    quantise = 2.0 if op.dtype.startswith("int") else 0.0
    units = np.maximum(elements / r.lanes, 1.0)
    return Phase(
        name="activation",
        work=Work(macs_fp32=(macs + (1.0 if op.gated else 0.0)) * elements, alu=(alu + quantise) * elements,
                  convert=(1.0 if op.dtype != "fp32" else 0.0) * elements, exp=exps * elements,
                  load_bytes=4.0 * elements, efficiency=r.kernel_efficiency),
        streams=(),
        **dealt(units, r.threads),
    )  # fmt: skip
