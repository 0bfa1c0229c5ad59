# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""One set of a cache as a row of eight or sixteen 64-bit words that is searched and shifted as vectors.

A word is line << 2 | prefetched << 1 | dirty; an empty way holds -1, which no line equals. A search is one vector compare and
moving a word to the front one vector shuffle, whatever the host's vectors are (LLVM splits them); numba's own vectoriser
makes neither of the two from a loop.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = (8, 16)
"""Widths of a row; ways beyond those of the cache are padding, whose words mean nothing."""

_WORD = ir.IntType(64)
_FLAGS = 3


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    vector = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _row(builder: Any, words: Any, index: Any, lanes: int) -> Any:
    return builder.bitcast(builder.gep(words, [index]), ir.VectorType(_WORD, lanes).as_pointer())


def _shuffled(builder: Any, row: Any, word: Any, lanes: int) -> Any:
    order = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [lanes, *range(lanes - 1)])
    return builder.shuffle_vector(row, _splat(builder, word, lanes), order)


@intrinsic
def pointer_to(typing, array):
    """Pointer to a contiguous array's first item. It is never counted as a reference nor wrapped around: the caller keeps the
    array alive and every index inside it."""

    def code(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), code


def _searcher(lanes: int) -> Any:
    @intrinsic
    def search(typing, words, index, key):
        """Bit mask of the words from `index` that hold `key` (line << 2), whatever their flags."""

        def code(context, builder, signature, args):
            vector = ir.VectorType(_WORD, lanes)
            row = builder.load(_row(builder, args[0], args[1], lanes), align=8, typ=vector)
            lines = builder.and_(row, ir.Constant(vector, [~_FLAGS] * lanes))
            found = builder.icmp_unsigned("==", lines, _splat(builder, args[2], lanes))
            return builder.zext(builder.bitcast(found, ir.IntType(lanes)), _WORD)

        return types.int64(words, types.int64, types.int64), code

    return search


def _pusher(lanes: int) -> Any:
    @intrinsic
    def push(typing, words, index, word):
        """Moves all words from `index` up by one, the last one out, and puts `word` first."""

        def code(context, builder, signature, args):
            where = _row(builder, args[0], args[1], lanes)
            row = builder.load(where, align=8, typ=ir.VectorType(_WORD, lanes))
            builder.store(_shuffled(builder, row, args[2], lanes), where, align=8)
            return context.get_dummy_value()

        return types.void(words, types.int64, types.int64), code

    return push


def _promoter(lanes: int) -> Any:
    @intrinsic
    def promote(typing, words, index, way, word):
        """Moves the words before `way` up by one onto it and puts `word` first."""

        def code(context, builder, signature, args):
            where = _row(builder, args[0], args[1], lanes)
            vector = ir.VectorType(_WORD, lanes)
            row = builder.load(where, align=8, typ=vector)
            numbers = ir.Constant(vector, list(range(lanes)))
            inside = builder.icmp_signed("<=", numbers, _splat(builder, args[2], lanes))
            # A whole row is stored: a masked store of the changed part is slow on Zen 4.
            builder.store(builder.select(inside, _shuffled(builder, row, args[3], lanes), row), where, align=8)
            return context.get_dummy_value()

        return types.void(words, types.int64, types.int64, types.int64), code

    return promote


search_8, search_16 = _searcher(8), _searcher(16)
push_8, push_16 = _pusher(8), _pusher(16)
promote_8, promote_16 = _promoter(8), _promoter(16)


@intrinsic
def lowest_bit(typing, mask):
    """Number of the lowest bit of a mask that is not 0."""

    def code(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code


@intrinsic
def outside(typing, addresses, index, base, limit):
    """Bit mask of the sixteen addresses from `index` that do not lie in base to base + limit."""

    def code(context, builder, signature, args):
        lanes = 16
        row = builder.load(_row(builder, args[0], args[1], lanes), align=8, typ=ir.VectorType(_WORD, lanes))
        offsets = builder.sub(row, _splat(builder, args[2], lanes))
        far = builder.icmp_unsigned(">", offsets, _splat(builder, args[3], lanes))
        return builder.zext(builder.bitcast(far, ir.IntType(lanes)), _WORD)

    return types.int64(addresses, types.int64, types.uint64, types.uint64), code


@intrinsic
def fetch(typing, words, index):
    """Asks for the line of words[index], to be used soon."""

    def code(context, builder, signature, args):
        pointer = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)])
        return context.get_dummy_value()

    return types.void(words, types.int64), code
