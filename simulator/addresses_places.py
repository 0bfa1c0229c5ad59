"""Shapes and arrays of a look-up FFN whose addresses are generated: whole numbers of one schedule, and where everything lies."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.addressmap import AddressMap
from simulator.addresstasks import PROJECT_TILE, Program
from simulator.schedule import SPLIT_COLUMNS, SPLIT_TABLES, SPLIT_TOKENS, LookupSchedule
from simulator.workload import (
    ELEMENT_BYTES,
    LookupFfn,
    hash_bits,
    padded_hidden,
    projection_outputs,
    projection_parameters,
    repeats,
)

SHARDS = 8
"""Shards of tables that V5 sums apart, whatever the number of cores up to it."""

BESIDE_GROUP = 12
"""Tokens of a group whose butterfly runs beside the products of the next (kernels/include/bh4_beside.hpp)."""


def round_up(value: float, step: int) -> int:
    """The next multiple of `step`."""
    return -(-int(value) // step) * step


@dataclass(frozen=True)
class Shape:
    """Whole numbers of one look-up under one schedule.

    `tables`: with those that fill fours (int8). `element`, `operand`: bytes of a table's and of a projection's element.
    `width`: floats of a normalised token. `z_bytes`: of one token's projection. `planes`: normalised tokens are kept in a second
    order. `block`: tokens encoded together, `tile`: tokens gathered together. `columns`: outputs in whole stripes.
    """

    op: LookupFfn
    schedule: LookupSchedule
    program: Program
    tables: int
    element: int
    operand: int
    bits: int
    repeats: int
    width: int
    z_bytes: int
    planes: bool
    block: int
    tile: int
    stripe: int
    columns: int

    @property
    def code_bytes(self) -> int:
        """Bytes of one token's codes; scores take twice as many."""
        return round_up(self.tables, 16) * 2


def shape_of(op: LookupFfn, schedule: LookupSchedule, program: Program) -> Shape:
    """The shape of an operator under a schedule."""
    bh4, bits, element = op.projection == "bh4", int(hash_bits(op)), int(ELEMENT_BYTES[op.table_dtype])
    rep, width = (int(repeats(op)), int(padded_hidden(op))) if bh4 else (1, round_up(op.hidden, 64))
    share = -(-program.batch // program.threads)
    block = min(
        PROJECT_TILE, -(-share // (6 * -(-share // PROJECT_TILE))) * 6, program.batch
    )  # as kernels/plan.py has it
    blocks = -(-program.batch // block)
    fair = -(-blocks // program.threads)
    # Tokens over cores: no core gets all of a call. Shared tiles: every core has a block to encode.
    fewest, most = (1, fair) if schedule.split == SPLIT_TOKENS else (program.threads, blocks)
    line, columns = 64 // element, round_up(op.output, 64 // element)
    share = columns // program.threads if schedule.split == SPLIT_COLUMNS else columns
    widest = max(line, int(min(schedule.column_stripe, share)))
    stripe = next(width for width in range(widest // line * line, 0, -line) if columns % width == 0)
    return Shape(
        op,
        schedule,
        program,
        tables=round_up(op.tables, 4 if op.table_dtype == "int8" else 1),
        element=element,
        operand=int(ELEMENT_BYTES[op.projection_dtype]),
        bits=bits,
        repeats=rep,
        width=width,
        z_bytes=(rep * width if bh4 else round_up(projection_outputs(op), 64)) * 4,
        planes=bh4 and bits == 8,
        block=block,
        tile=int(min(max(schedule.token_tile // block, fewest), most)) * block,
        stripe=stripe,
        columns=columns,
    )


@dataclass(frozen=True)
class Core:
    """Workspace of one core."""

    x1: int
    planes: int
    first: int
    later: int
    y: int
    z: int
    codes: int
    scores: int


@dataclass(frozen=True)
class Layer:
    """Arrays of one layer."""

    tables: int
    weights: int
    bias: int
    norm: int
    output_bias: int
    evicted: int


@dataclass(frozen=True)
class Places:
    """Where everything lies."""

    layers: tuple[Layer, ...]
    inputs: tuple[int, int]
    cores: tuple[Core, ...]
    codes: int
    scores: int
    partial: int


def place_arrays(s: Shape, space: AddressMap) -> Places:
    """Takes memory for every array."""
    op, batch, take = s.op, s.program.batch, space.take
    layer_tables = s.tables * int(op.rows) * s.columns * s.element
    weights = float(projection_parameters(op) - projection_outputs(op)) * s.operand
    if op.projection == "dense":
        weights = s.z_bytes // 4 * op.hidden * s.operand
    layers = tuple(
        Layer(
            take(f"tables of layer {i}", layer_tables),
            take(f"projection weights of layer {i}", weights),
            take(f"projection bias of layer {i}", s.z_bytes),
            take(f"layer norm of layer {i}", op.hidden * 8),
            take(f"output bias of layer {i}", s.columns * 4),
            take(f"swept after layer {i}", s.program.evicted_bytes) if s.program.evicted_bytes >= 1 else 0,
        )
        for i in range(s.program.layers)
    )
    row = max(int(op.hidden), s.columns) * 4
    inputs = (take("inputs and outputs, even", batch * row), take("inputs and outputs, odd", batch * row))
    tile = min(s.tile, batch)
    own = tile if s.schedule.split == SPLIT_TOKENS else 0
    cores = tuple(
        Core(
            take(f"normalised of core {i}", s.block * s.width * 4),
            take(f"planes of core {i}", s.block * s.width * 4 if s.planes else 0),
            take(f"activations of core {i}", s.block * s.width * s.operand),
            take(f"later activations of core {i}", s.block * s.width * s.operand),
            take(f"stage buffer of core {i}", max(s.block, 2 * BESIDE_GROUP) * s.width * 4),
            take(f"projected of core {i}", s.block * s.z_bytes),
            take(f"codes of core {i}", own * s.code_bytes),
            take(f"scores of core {i}", own * s.code_bytes * 2),
        )
        for i in range(s.program.threads)
    )
    shared = tile if s.schedule.split != SPLIT_TOKENS else 0
    partial = (shard_sizes(s)[0] - 1) * tile * s.columns * 4 if s.schedule.split == SPLIT_TABLES else 0
    return Places(
        layers,
        inputs,
        cores,
        take("codes of a tile, two turns", 2 * shared * s.code_bytes),
        take("scores of a tile, two turns", 4 * shared * s.code_bytes),
        take("partial sums", partial),
    )


def shard_sizes(s: Shape) -> tuple[int, int]:
    """(shards, tables of one)."""
    wanted = max(SHARDS, s.program.threads)
    unit = 4 if wanted == SHARDS or s.op.table_dtype == "int8" else 1
    size = round_up(-(-s.tables // wanted), unit)
    return -(-s.tables // size), size
