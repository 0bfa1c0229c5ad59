"""Calls of C functions with everything made beforehand, and their timing without Python in between.

A ctypes call takes one to four microseconds, as long as one token of a look-up layer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from kernels.library import I64, POINTER, KernelError, address, function

MOST_ARGUMENTS = 12


class _Call(ctypes.Structure):
    """`struct Call` of timer/scalar.cpp."""

    _fields_ = (("function", POINTER), ("arguments", I64 * MOST_ARGUMENTS))


class Prepared:
    """`function` of so many pointers (ctypes structures, or addresses) and whole numbers, none of them a float.

    keep: what must live as long as this; check: is given the result of every call from Python.
    """

    def __init__(
        self, function: Any, arguments: Sequence[Any], keep: Any = None, check: Callable[[int], Any] | None = None
    ) -> None:
        if len(arguments) > MOST_ARGUMENTS:
            raise ValueError(f"at most {MOST_ARGUMENTS} arguments, got {len(arguments)}")
        self._function, self._keep, self._check = function, (arguments, keep), check
        self._words = [a if isinstance(a, int) else ctypes.addressof(a) for a in arguments]
        self._arguments = [I64(word) for word in self._words]

    def __call__(self) -> Any:
        result = self._function(*self._arguments)
        return result if self._check is None else self._check(result)

    def fill(self, call: _Call) -> None:
        """The same for the timer."""
        call.function = address(self._function)
        for place, word in enumerate(self._words):
            call.arguments[place] = word


class Series:
    """Calls one after another, as the timer takes them."""

    def __init__(self, calls: Sequence[Prepared]) -> None:
        if not calls:
            raise ValueError("at least one call")
        self.calls = tuple(calls)
        self._table = (_Call * len(calls))()
        for place, call in zip(self._table, calls, strict=True):
            call.fill(place)
        self._time = function("timer", "time_calls")

    def seconds(self, repeats: int = 1) -> float:
        """Of one pass through all calls, the mean of `repeats` passes. Raises KernelError."""
        found = ctypes.c_double()
        if self._time(self._table, I64(len(self.calls)), I64(repeats), ctypes.byref(found)):
            raise KernelError("the calls cannot be timed")
        return found.value / repeats
