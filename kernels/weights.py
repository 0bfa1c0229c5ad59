"""The trained parameters of one LookupFFN layer, as NumPy arrays in the layout of training.

Shapes: d inputs, T tables of R rows (a power of two, tau = log2 R) and `dout` columns, M = T tau projections. BH4 pads d
to D = 2^ceil(log2 d) and makes ceil(M / D) repeats of `stages` block-diagonal products, each followed by an unnormalised
Walsh-Hadamard transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
EPSILON = 1e-5
MIX_PROJECTED, MIX_INPUT = 0.7, 0.3
"""Z = 0.7 BH4(x) + 0.3 x (LookupFFN's training code)."""

MAX_HIDDEN = 4096
MAX_ROWS = 4096


class ShapeError(ValueError):
    """An array does not fit the others; the message names it, what it has and what it needs."""


@dataclass(frozen=True)
class LookupWeights:
    """One layer. Exactly one of `blocks` (BH4) and `dense` (a plain matrix) is given.

    gamma, beta: LayerNorm, [d]. blocks: [repeats, stages, D / b, b, b], applied as W[o][i]. dense: [M, d].
    projection_bias: [M]. tables: [T, R, dout]. bias: [dout].
    """

    gamma: Float32
    beta: Float32
    tables: Float32
    projection_bias: Float32
    bias: Float32
    blocks: Float32 | None = None
    dense: Float32 | None = None

    @property
    def hidden(self) -> int:
        """Inputs d."""
        return int(self.gamma.shape[0])

    @property
    def table_count(self) -> int:
        """Tables T."""
        return int(self.tables.shape[0])

    @property
    def rows(self) -> int:
        """Rows of a table, R."""
        return int(self.tables.shape[1])

    @property
    def columns(self) -> int:
        """Outputs, dout."""
        return int(self.tables.shape[2])

    @property
    def code_bits(self) -> int:
        """Bits of a code, tau."""
        return self.rows.bit_length() - 1

    @property
    def outputs(self) -> int:
        """Projections a token, M = T tau."""
        return self.table_count * self.code_bits

    @property
    def padded(self) -> int:
        """D: d rounded up to a power of two."""
        return 1 << (self.hidden - 1).bit_length()

    @property
    def repeats(self) -> int:
        """Times that BH4 runs with other weights to make M outputs."""
        return max(1, -(-self.outputs // self.padded))


def lookup_weights(
    *,
    tables: Any,
    gamma: Any = None,
    beta: Any = None,
    blocks: Any = None,
    dense: Any = None,
    projection_bias: Any = None,
    bias: Any = None,
    hidden: int | None = None,
) -> LookupWeights:
    """Checks shapes and fills what is not given (LayerNorm 1 and 0, biases 0). Raises ShapeError."""
    t = _array("tables", tables, 3)
    count, rows, columns = t.shape
    if rows < 2 or rows & (rows - 1) or rows > MAX_ROWS:
        raise ShapeError(f"tables: R (axis 1) must be a power of two from 2 to {MAX_ROWS}, got {rows}")
    if count < 1 or columns < 1:
        raise ShapeError(f"tables: no axis may be empty, got shape {t.shape}")
    if (blocks is None) == (dense is None):
        raise ShapeError("give either blocks (BH4) or dense, not both and not neither")
    outputs = count * (rows.bit_length() - 1)
    d = _hidden(gamma, dense, blocks, hidden)
    result = LookupWeights(
        gamma=_vector("gamma", gamma, d, 1.0),
        beta=_vector("beta", beta, d, 0.0),
        tables=t,
        projection_bias=_vector("projection_bias", projection_bias, outputs, 0.0),
        bias=_vector("bias", bias, columns, 0.0),
        blocks=None if blocks is None else _array("blocks", blocks, 5),
        dense=None if dense is None else _array("dense", dense, 2),
    )
    if result.dense is not None and result.dense.shape != (outputs, d):
        raise ShapeError(f"dense: must have shape [M, d] = {(outputs, d)}, got {result.dense.shape}")
    if result.blocks is not None:
        _check_blocks(result)
    return result


def _hidden(gamma: Any, dense: Any, blocks: Any, hidden: int | None) -> int:
    if hidden is None:
        if gamma is not None:
            hidden = np.shape(gamma)[-1] if np.ndim(gamma) else 0
        elif dense is not None:
            hidden = np.shape(dense)[-1] if np.ndim(dense) else 0
        else:
            shape = np.shape(blocks)
            hidden = shape[2] * shape[3] if len(shape) == 5 else 0
    if not 1 <= hidden <= MAX_HIDDEN:
        raise ShapeError(f"d must be between 1 and {MAX_HIDDEN}, got {hidden}")
    return int(hidden)


def _check_blocks(w: LookupWeights) -> None:
    assert w.blocks is not None
    repeats, stages, count, size, inner = w.blocks.shape
    if size != inner or size < 1 or size & (size - 1):
        raise ShapeError(f"blocks: the last two axes must be one power of two, got {size} x {inner}")
    if stages < 1:
        raise ShapeError("blocks: at least one stage is needed")
    wanted = (w.repeats, w.padded // size)
    if (repeats, count) != wanted:
        raise ShapeError(
            f"blocks: d = {w.hidden} (padded to {w.padded}) and M = {w.outputs} need [{wanted[0]}, stages, {wanted[1]}, "
            f"{size}, {size}], got {list(w.blocks.shape)}"
        )


def _array(name: str, value: Any, dimensions: int) -> Float32:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise ShapeError(f"{name}: must hold real numbers, got dtype {array.dtype}")
    if array.ndim != dimensions:
        raise ShapeError(f"{name}: must have {dimensions} axes, got shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.float32)


def _vector(name: str, value: Any, length: int, default: float) -> Float32:
    if value is None:
        return np.full(length, default, dtype=np.float32)
    array = _array(name, value, 1)
    if array.shape != (length,):
        raise ShapeError(f"{name}: must have length {length}, got {array.shape[0]}")
    return array


def random_weights(
    hidden: int,
    columns: int,
    tables: int,
    rows: int,
    *,
    projection: str = "bh4",
    block: int = 64,
    stages: int = 4,
    seed: int = 0,
) -> LookupWeights:
    """Weights as training starts from: blocks N(0, 1 / (b D)), tables 0.02 N(0, 1), LayerNorm near identity."""
    draw = np.random.default_rng(seed)
    outputs = tables * (rows.bit_length() - 1)
    padded = 1 << (hidden - 1).bit_length()
    block = min(block, padded)
    repeats = max(1, -(-outputs // padded))
    normal = draw.standard_normal
    blocks = dense = None
    if projection == "bh4":
        shape = (repeats, stages, padded // block, block, block)
        blocks = normal(shape, dtype=np.float32) / np.sqrt(block * padded, dtype=np.float32)
    else:
        dense = normal((outputs, hidden), dtype=np.float32) / np.sqrt(hidden, dtype=np.float32)
    return lookup_weights(
        gamma=1.0 + 0.1 * normal(hidden, dtype=np.float32),
        beta=0.1 * normal(hidden, dtype=np.float32),
        tables=0.02 * normal((tables, rows, columns), dtype=np.float32),
        projection_bias=0.1 * normal(outputs, dtype=np.float32),
        bias=0.1 * normal(columns, dtype=np.float32),
        blocks=blocks,
        dense=dense,
        hidden=hidden,
    )
