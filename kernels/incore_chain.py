"""The dependency bound of a loop: cycles an iteration if it had every port it wants, by the latencies along its registers.

Only registers carry dependencies; memory and flags do not (no marked loop reads what it stored an iteration earlier).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kernels.incore_kinds import split_operands

ITERATIONS = 96
_X86 = re.compile(r"%(\w+)")
_ARM = re.compile(r"\b([xwvqdshb])(\d+)\b|\bsp\b")
_MERGES_X86 = re.compile(r"^(?:vfn?m(?:add|sub)|vpdp|vdpbf16|tdp|vpternlog|vpermi2|vpermt2)")
_MERGES_ARM = re.compile(
    r"^(?:fmla|fmls|bfdot|bfmmla|bfmlal|[su]+dot|[su]+mmla|[su]ml[as]l|ml[as]|ins|bsl|bit|bif|sri|sli)"
)
_WRITES_NOTHING = re.compile(r"^(?:v?u?comis[sd]|cmp[a-z]?|test[a-z]?|j[a-z]+|prefetch\w*|nop\w*|kortest\w|ktest\w)$")
_NO_READ_OF_DESTINATION = re.compile(r"^(?:mov|lea|set|k|bsf|bsr|tzcnt|lzcnt|rorx|tile|v)")
_LEGACY = {"a": "rax", "b": "rbx", "c": "rcx", "d": "rdx"}


def _canonical_x86(name: str) -> str:
    if match := re.match(r"^[xyz]mm(\d+)$", name):
        return f"v{match[1]}"
    if match := re.match(r"^(r\d+)[dwb]?$", name):
        return match[1]
    if match := re.match(r"^[re]?([abcd])[xlh]$", name):
        return _LEGACY[match[1]]
    if match := re.match(r"^[re]?(si|di|bp|sp)l?$", name):
        return f"r{match[1]}"
    return name


def _registers_x86(text: str) -> list[str]:
    return [_canonical_x86(name) for name in _X86.findall(text)]


def flow_x86(text: str) -> tuple[list[str], list[str]]:
    """(registers read, registers written) by an instruction in AT&T syntax."""
    mnemonic, operands = text.split()[0], split_operands(text)
    if not operands or _WRITES_NOTHING.match(mnemonic):
        return _registers_x86(text), []
    last = operands[-1]
    if "(" in last:
        return _registers_x86(text), []
    target, *masks = _registers_x86(last) or [""]
    reads = [r for operand in operands[:-1] for r in _registers_x86(operand)] + masks
    if re.match(r"^v?p?xor", mnemonic) and len(set(map(_canonical_x86, _X86.findall(text)))) == 1:
        return [], [target]
    merges = _MERGES_X86.match(mnemonic) or (masks and "{z}" not in last)
    if merges or not _NO_READ_OF_DESTINATION.match(mnemonic):
        reads.append(target)
    return reads, [target]


def _registers_arm(text: str) -> list[str]:
    found = []
    for match in _ARM.finditer(text):
        bank = "sp" if match[1] is None else ("x" if match[1] in "xw" else "v")
        found.append(bank if bank == "sp" else f"{bank}{match[2]}")
    return found


def flow_aarch64(text: str) -> tuple[list[str], list[str]]:
    """(registers read, registers written) by an AArch64 instruction."""
    mnemonic, operands = text.split()[0], split_operands(text)
    if not operands or mnemonic.startswith(("cmp", "cmn", "tst", "b.", "cb", "tb", "prfm", "fcmp")) or mnemonic == "b":
        return _registers_arm(text), []
    address = next((i for i, operand in enumerate(operands) if operand.startswith("[")), None)
    stepped = []  # post-index, or pre-index with a write-back
    if address is not None and (address < len(operands) - 1 or operands[address].endswith("!")):
        stepped = _registers_arm(operands[address])[:1]
    if mnemonic.startswith("st"):
        return _registers_arm(text), stepped
    targets = operands[: 2 if mnemonic == "ldp" else 1]
    written = [r for operand in targets for r in _registers_arm(operand)]
    reads = [r for operand in operands[len(targets) :] for r in _registers_arm(operand)]
    if _MERGES_ARM.match(mnemonic) or re.search(r"\.[bhsd]\[", operands[0]):
        reads += written
    return reads, written + stepped


def waits_for_itself(text: str, machine: str) -> bool:
    """Whether an instruction reads a register that it writes."""
    reads, writes = (flow_x86 if machine == "x86_64" else flow_aarch64)(text)
    return bool(set(reads) & set(writes))


def dependency_cycles(body: Sequence[str], latencies: Sequence[float], machine: str) -> float:
    """Cycles an iteration along the slowest loop-carried chain; `latencies` from a register operand to the result."""
    flow = flow_x86 if machine == "x86_64" else flow_aarch64
    flows = [flow(text) for text in body]
    ready: dict[str, float] = {}
    ends = []
    for _ in range(ITERATIONS):
        last = 0.0
        for (reads, writes), latency in zip(flows, latencies, strict=True):
            done = max((ready.get(r, 0.0) for r in reads), default=0.0) + latency
            for register in writes:
                ready[register] = done
            last = max(last, done)
        ends.append(last)
    half = ITERATIONS // 2
    return (ends[-1] - ends[half - 1]) / (ITERATIONS - half)
