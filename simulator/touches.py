"""Loop nests as accesses, compiled: runs of bytes, block products and the weighted gather, in the order of the kernels.

A run is a row (first byte, bytes, stream, kind) of an int64 array; `expand` makes accesses of it, one for each aligned piece of
`piece` bytes that it touches. Kinds: READ, WRITE, UPDATE (every piece read, then written). What fills a buffer stops when it is
full and goes on from its `state` at the next call, so that no address is ever stored longer than one chunk.
"""

from __future__ import annotations

from typing import Any

from numba import njit

READ, WRITE, UPDATE = 0, 1, 2

# Parameters of `gather`, an int64 array.
(TOKENS_BEGIN, TOKENS_END, TOKEN_TILE, STRIPE_BEGIN, STRIPE_END, TABLE_BEGIN, TABLE_END, GROUP, TABLES, ROWS, PIECE_ROW,
 STRIPE, ELEMENT, TOGETHER, DATA, CODES, CODE_STRIDE, SCORES, SCORE_STRIDE, NEAR_FIRST, SUMS, SUM_STRIDE, SUM_FIRST, BIAS,
 PIECE, FIRST_STREAM) = range(26)  # fmt: skip
GATHER_PARAMETERS = 26
CODES_STREAM, SCORES_STREAM, ROWS_STREAM, SUMS_STREAM, BIAS_STREAM = range(5)

REGISTER_COLUMNS = 256
"""Columns that are summed in registers at once (16 vectors of AVX-512)."""


@njit(cache=True, nogil=True)
def expand(runs: Any, count: int, state: Any, piece: int, addresses: Any, streams: Any, writes: Any, n: int) -> int:
    """Accesses of runs[state[0]:count] into the buffers from n on; state: (run, next piece, whether it was read)."""
    room = len(addresses)
    row, at, turn = state[0], state[1], state[2]
    while row < count:
        start, stream, kind = runs[row, 0], runs[row, 2], runs[row, 3]
        last = (start + runs[row, 1] - 1) // piece * piece
        if at < 0:
            at = start // piece * piece
        while at <= last and n < room:
            addresses[n] = at
            streams[n] = stream
            writes[n] = kind == WRITE or (kind == UPDATE and turn == 1)
            n += 1
            if kind == UPDATE and turn == 0:
                turn = 1
            else:
                turn = 0
                at += piece
        if at <= last:
            break
        row, at = row + 1, -1
    state[0], state[1], state[2] = row, at, turn
    return n


@njit(cache=True, inline="always")
def _put(runs: Any, n: int, start: int, size: int, stream: int, kind: int) -> int:
    runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3] = start, size, stream, kind
    return n + 1


@njit(cache=True, nogil=True)
def product(runs: Any, n: int, weights: int, weight_bytes: int, x: int, x_stride: int, x_bytes: int, tokens: int, width: int,
            y: int, y_stride: int, y_bytes: int, streams: Any) -> int:  # fmt: skip
    """Weights of a panel of outputs times `tokens` tokens, `width` at a time: weights and activations side by side, a line
    of activations each, then the outputs. streams: of weights, activations, outputs."""
    for first in range(0, tokens, width):
        last = min(first + width, tokens)
        for k in range(0, x_bytes, 64):
            end = min(k + 64, x_bytes)
            begin = weight_bytes * k // x_bytes
            n = _put(runs, n, weights + begin, weight_bytes * end // x_bytes - begin, streams[0], READ)
            for token in range(first, last):
                n = _put(runs, n, x + token * x_stride + k, end - k, streams[1], READ)
        for token in range(first, last):
            n = _put(runs, n, y + token * y_stride, y_bytes, streams[2], WRITE)
    return n


@njit(cache=True, nogil=True)
def bh4_stage(runs: Any, shape: Any, places: Any, streams: Any, tokens: int, repeat: int, stage: int) -> int:
    """One stage of one repeat of BH4 for a block of tokens, in groups: block products, butterfly, then the activations of
    the next stage or the mixed outputs.

    shape: padded, block, element bytes, stages, tokens of a group, tokens that share weights, floats between rows of y.
    places: weights, activations of stage 0, of later stages, y, inputs in output order, bias, z, bytes between rows of z.
    streams: weights, activations, buffers, bias, projected.
    """
    padded, block, element, stages, group, width, y_floats = shape
    weights, first_x, later_x, y, mix, bias, z, z_stride = places
    blocks, x_row, wide = padded // block, padded * element, min(block, 64)
    x = first_x if stage == 0 else later_x
    three = streams[:3]
    n = 0
    for begin in range(0, tokens, group):
        count = min(group, tokens - begin)
        side = begin // group % 2 * padded * 4 if y_floats > padded else 0
        for b in range(blocks):
            at = weights + ((repeat * stages + stage) * blocks + b) * block * block * element
            for o in range(0, block, wide):
                n = product(runs, n, at + o * block * element, wide * block * element, x + begin * x_row + b * block * element,
                            x_row, block * element, count, width, y + side + (b * block + o) * 4, y_floats * 4, wide * 4,
                            three)  # fmt: skip
        for token in range(begin, begin + count):
            row = y + side + (token - begin) * y_floats * 4
            left = blocks
            while left >= 2:
                n = _put(runs, n, row, padded * 4, streams[2], UPDATE)
                left = left // 8 if left >= 8 else 1
            n = _put(runs, n, row, padded * 4, streams[2], READ)
            if stage + 1 < stages:
                n = _put(runs, n, later_x + token * x_row, x_row, streams[1], WRITE)
                continue
            n = _put(runs, n, mix + token * padded * 4, padded * 4, streams[1], READ)
            n = _put(runs, n, bias + repeat * padded * 4, padded * 4, streams[3], READ)
            n = _put(runs, n, z + token * z_stride + repeat * padded * 4, padded * 4, streams[4], WRITE)
    return n


@njit(cache=True, inline="always")
def _touch(
    start: int, size: int, piece: int, stream: int, write: bool, addresses: Any, streams: Any, writes: Any, n: int
) -> int:
    for at in range(start // piece * piece, start + size, piece):
        addresses[n] = at
        streams[n] = stream
        writes[n] = write
        n += 1
    return n


@njit(cache=True, nogil=True)
def _sum_tables(p: Any, rows: Any, token: int, column: int, data: int, first: int, last: int, addresses: Any,
                streams: Any, writes: Any, n: int) -> int:  # fmt: skip
    """Codes, scores and row pieces of tables [first, last) for up to REGISTER_COLUMNS columns of one token."""
    piece, element, together, base = p[PIECE], p[ELEMENT], p[TOGETHER], p[FIRST_STREAM]
    near = token - p[NEAR_FIRST]
    code, score = p[CODES] + near * p[CODE_STRIDE], p[SCORES] + near * p[SCORE_STRIDE]
    size = min(REGISTER_COLUMNS, p[STRIPE] - column) * element
    for table in range(first, last, together):
        for at, stride, stream in ((code, 2, CODES_STREAM), (score, 4, SCORES_STREAM)):
            begin = at + table * stride
            # A piece that was read for the tables before is in a register or was counted there.
            start = begin if table == first else -(-begin // piece) * piece
            if start < begin + together * stride:
                n = _touch(
                    start, begin + together * stride - start, piece, base + stream, False, addresses, streams, writes, n
                )
        step = 64 if together > 1 else size
        for offset in range(0, size, step):
            for k in range(table, min(table + together, last)):
                row = rows[token, k] if k < rows.shape[1] else 0
                where = data + (k * p[ROWS] + row) * p[PIECE_ROW] + column * element + offset
                n = _touch(
                    where, min(step, size - offset), piece, base + ROWS_STREAM, False, addresses, streams, writes, n
                )
    return n


@njit(cache=True, nogil=True)
def gather(p: Any, rows: Any, state: Any, addresses: Any, streams: Any, writes: Any, n: int, stop: int) -> int:
    """The weighted gather of one thread, into the buffers from n on until `stop` or its end (then state[0] >= TOKENS_END).

    Tiles of tokens over stripes over groups of tables over tokens, as in kernels/include/gather.hpp; the group that begins
    with the first table starts the sums (at the bias, or at zero in a shard), all others read and write them.
    state: (tile, stripe, first table, token). The buffers need room for one token and group beyond `stop`.
    """
    base, piece, stripe_bytes = p[FIRST_STREAM], p[PIECE], p[TABLES] * p[ROWS] * p[PIECE_ROW]
    tile, stripe, first, token = state[0], state[1], state[2], state[3]
    while tile < p[TOKENS_END]:
        end = min(tile + p[TOKEN_TILE], p[TOKENS_END])
        while stripe < p[STRIPE_END]:
            while first < p[TABLE_END]:
                last = min(first + p[GROUP], p[TABLE_END])
                while token < end:
                    if n >= stop:
                        state[0], state[1], state[2], state[3] = tile, stripe, first, token
                        return n
                    for column in range(0, p[STRIPE], REGISTER_COLUMNS):
                        at = (stripe * p[STRIPE] + column) * 4
                        out = p[SUMS] + (token - p[SUM_FIRST]) * p[SUM_STRIDE] + at
                        size = min(REGISTER_COLUMNS, p[STRIPE] - column) * 4
                        if first != p[TABLE_BEGIN]:
                            n = _touch(out, size, piece, base + SUMS_STREAM, False, addresses, streams, writes, n)
                        elif first == 0 and p[TOGETHER] == 1:
                            n = _touch(
                                p[BIAS] + at, size, piece, base + BIAS_STREAM, False, addresses, streams, writes, n
                            )
                        n = _sum_tables(p, rows, token, column, p[DATA] + stripe * stripe_bytes, first, last, addresses,
                                        streams, writes, n)  # fmt: skip
                        n = _touch(out, size, piece, base + SUMS_STREAM, True, addresses, streams, writes, n)
                    token += 1
                first, token = last, tile
            stripe, first = stripe + 1, p[TABLE_BEGIN]
        tile += p[TOKEN_TILE]
        stripe, token = p[STRIPE_BEGIN], tile
    state[0], state[1], state[2], state[3] = tile, stripe, first, token
    return n
