"""What kind of instruction a line of assembly is, for counting and for comparison with measured throughputs.

A kind is a mnemonic and a width: 'vfmadd231ps zmm'. All fused multiply-adds of a type are one kind, as are moves from memory
('load zmm'), broadcasts from memory and stores. An operand in memory is a load beside the arithmetic. Scalar bookkeeping,
moves between registers and branches have no kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_WIDTH = re.compile(r"%([txyz]mm)\d+")
_FMA = re.compile(r"^vfn?m(?:add|sub)(?:132|213|231)(ps|ss|pd|sd)$")
_MOVES = re.compile(r"^v(?:mov[au]p[sd]|movdq[au](?:8|16|32|64)?|lddqu)$")
_LOGIC = {"vandps": "vpandd", "vpand": "vpandd", "vpandq": "vpandd", "vpor": "vpord", "vporq": "vpord", "vorps": "vpord",
          "vxorps": "vpxord", "vpxor": "vpxord", "vpxorq": "vpxord"}  # fmt: skip
_BLEND = {"vmovdqu8": "vpblendmb", "vmovdqu16": "vpblendmw", "vmovdqu32": "vpblendmd", "vmovdqa32": "vpblendmd"}
_NEON_WIDTH = re.compile(r"\bv\d+\.(\d+)([bhsd])|\b([qds])\d+\b")
_NEON_BITS = {"b": 8, "h": 16, "s": 32, "d": 64}


def split_operands(text: str) -> list[str]:
    """Operands of an instruction; commas inside (), [] and {} do not count."""
    parts = text.split(None, 1)
    found, depth, current = [], 0, ""
    for letter in parts[1] if len(parts) > 1 else "":
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            found.append(current.strip())
            current = ""
        else:
            current += letter
    return [*found, current.strip()] if current.strip() else found


def kinds_x86(text: str) -> tuple[str, ...]:
    """Kinds of one x86 instruction in AT&T syntax."""
    mnemonic, operands = text.split()[0], split_operands(text)
    widths = _WIDTH.findall(text)
    if "tmm" in widths:
        return (f"{mnemonic} tmm",)
    if not widths or not mnemonic.startswith("v"):
        return ()
    width = max(widths)
    in_memory = next((i for i, operand in enumerate(operands) if "(" in operand), None)
    if in_memory is not None and in_memory == len(operands) - 1:
        return (f"store {width}",)
    if mnemonic in ("vbroadcastss", "vpbroadcastd") and in_memory is not None:
        return (f"broadcast {width}",)
    if _MOVES.match(mnemonic):
        merges = "{%k" in text and "{z}" not in text and mnemonic in _BLEND
        loads = (f"load {width}",) if in_memory is not None else ()
        return (*((f"{_BLEND[mnemonic]} {width}",) if merges else ()), *loads)
    fused = _FMA.match(mnemonic)
    name = f"vfmadd231{fused[1]}" if fused else _LOGIC.get(mnemonic, mnemonic)
    if name == "vsubps":
        name = "vaddps"
    if name == "vpsubd":
        name = "vpaddd"
    kinds = [f"{name} {width}"]
    if in_memory is not None:
        kinds.append(f"{'broadcast' if '{1to' in text else 'load'} {width}")
    return tuple(kinds)


def kinds_aarch64(text: str) -> tuple[str, ...]:
    """Kinds of one AArch64 instruction: 'fmla 128', 'load 128', 'fmadd 32'."""
    match = _NEON_WIDTH.search(text)
    if not match:
        return ()
    if match[3]:
        width = {"q": 128, "d": 64, "s": 32}[match[3]]
    else:
        width = int(match[1]) * _NEON_BITS[match[2]]
    mnemonic = text.split()[0].split(".")[0]
    if mnemonic in ("ldr", "ldur", "ld1"):
        return (f"load {width}",)
    if mnemonic == "ldp":
        return (f"load {width}",) * 2
    if mnemonic in ("str", "stur", "st1"):
        return (f"store {width}",)
    if mnemonic == "stp":
        return (f"store {width}",) * 2
    return (f"{mnemonic} {width}",)


def count_kinds(body: Iterable[str], machine: str) -> Counter[str]:
    """How often each kind stands in a loop."""
    kinds = kinds_x86 if machine == "x86_64" else kinds_aarch64
    return Counter(kind for text in body for kind in kinds(text))


def same_work(one: Counter[str], other: Counter[str]) -> bool:
    """Whether `other` holds the vector instructions of `one`, once or (unrolled) several times."""
    if set(one) != set(other) or not one:
        return one == other
    factors = {other[kind] / count for kind, count in one.items()}
    return len(factors) == 1 and min(factors) >= 1 and min(factors) == int(min(factors))
