"""llvm-mca over one loop: cycles an iteration, the port that is used most, the loop-carried chain."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kernels.incore_chain import dependency_cycles, waits_for_itself

TOOL, PACKAGE = "llvm-mca-22", "llvm-22"
ITERATIONS = 500
COPIES = 24
_MEMORY = re.compile(r"-?[\w.+*]*\([^)]*\)(?:\{1to\d+\})?")
_FOLDS = re.compile(r"^v(?:fn?m(?:add|sub)|pdp|dpbf16|add|sub|mul|min|max|padd|psub|pand|pmadd|and)")


class McaError(Exception):
    """llvm-mca is missing or refuses its input; the message is for the user."""


@dataclass(frozen=True)
class LoopCycles:
    """One loop on one scheduling model, cycles an iteration.

    `port`, `port_cycles`: the most used resource; `dependency_cycles`: the longest loop-carried chain; `throughput`:
    llvm-mca's static reciprocal throughput of each instruction, in order.
    """

    cycles: float
    port: str
    port_cycles: float
    dependency_cycles: float
    throughput: tuple[float, ...]

    @property
    def bound(self) -> str:
        """What stops the loop: its chain, a port, or the front end (dispatch, buffers)."""
        if self.dependency_cycles >= 0.95 * self.cycles:
            return "dependency"
        return self.port if self.port_cycles >= 0.9 * self.cycles else "front end"


def find_tool() -> str:
    """Path of llvm-mca. Raises McaError that says what to install."""
    path = shutil.which(TOOL)
    if path is None:
        raise McaError(
            f"make incore needs {TOOL}, which is not there: install {PACKAGE} (Debian: apt-get install {PACKAGE})"
        )
    return path


def tool_version(tool: str) -> str:
    """What llvm-mca calls itself."""
    text = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=30).stdout
    return next((line.strip() for line in text.splitlines() if "version" in line), tool)


def _run(tool: str, lines: Sequence[str], machine: str, cpu: str, iterations: int) -> dict[str, Any]:
    command = [tool, f"-mtriple={machine}-linux-gnu", f"-mcpu={cpu}", "--json", f"-iterations={iterations}"]
    source = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=120)
    if done.returncode:
        text = done.stderr.strip().splitlines()
        raise McaError(f"{TOOL} -mcpu={cpu}: {text[0] if text else 'no message'}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _register_form(text: str) -> str:
    """An arithmetic instruction with its memory operand replaced by a register, so that its latency is that of the arithmetic."""
    mnemonic = text.split()[0]
    if not _FOLDS.match(mnemonic):
        return text
    width = max(re.findall(r"%([xyz]mm)\d+", text), default="")
    return _MEMORY.sub(f"%{width}0", text, count=1) if width and "(" in text else text


def _latencies(region: dict[str, Any]) -> list[float]:
    return [float(item["Latency"]) for item in region["InstructionInfoView"]["InstructionList"]]


@functools.cache
def _chained(tool: str, text: str, machine: str, cpu: str) -> float:
    """Cycles of an instruction that waits for its own result: less than its latency where a core forwards accumulators."""
    (region,) = _run(tool, [text], machine, cpu, 100)["CodeRegions"]
    return float(region["SummaryView"]["TotalCycles"] / region["SummaryView"]["Iterations"])


def _chain_latencies(tool: str, body: Sequence[str], latencies: Sequence[float], machine: str, cpu: str) -> list[float]:
    """Latencies from an accumulator to the result where an instruction has one, else from any operand."""
    found = []
    for text, latency in zip(body, latencies, strict=True):
        own = waits_for_itself(text, machine)
        found.append(min(latency, round(_chained(tool, text, machine, cpu))) if own else latency)
    return found


def analyse(tool: str, body: Sequence[str], machine: str, cpu: str) -> LoopCycles:
    """Runs llvm-mca over a loop. Raises McaError."""
    record = _run(tool, body, machine, cpu, ITERATIONS)
    (region,) = record["CodeRegions"]
    names = record["TargetInfo"]["Resources"]
    if len(region["Instructions"]) != len(body):
        raise McaError(f"{TOOL} reads {len(region['Instructions'])} of {len(body)} instructions: {body}")
    total = len(body)  # the row behind the last instruction is the sum
    used = {
        item["ResourceIndex"]: float(item["ResourceUsage"])
        for item in region["ResourcePressureView"]["ResourcePressureInfo"]
        if item["InstructionIndex"] == total
    }
    busiest = max(used, key=lambda index: used[index], default=None)
    registers = [_register_form(text) for text in body] if machine == "x86_64" else list(body)
    plain = region if registers == list(body) else _run(tool, registers, machine, cpu, 1)["CodeRegions"][0]
    chain = _chain_latencies(tool, registers, _latencies(plain), machine, cpu)
    summary = region["SummaryView"]
    return LoopCycles(
        cycles=summary["TotalCycles"] / summary["Iterations"],
        port="none" if busiest is None else names[busiest].split(".\0")[0].rstrip("\0"),
        port_cycles=0.0 if busiest is None else used[busiest],
        dependency_cycles=dependency_cycles(body, chain, machine),
        throughput=tuple(float(item["RThroughput"]) for item in region["InstructionInfoView"]["InstructionList"]),
    )


def alone(tool: str, template: str, machine: str, cpu: str) -> float:
    """Cycles of one instruction among independent copies of itself; see kernels/data/instruction_throughput.yaml."""
    lines = [template.format(i=i, o=64 * i, t=2 + i % 6, r=i % 12) for i in range(COPIES)]
    (region,) = _run(tool, lines, machine, cpu, ITERATIONS)["CodeRegions"]
    summary = region["SummaryView"]
    return float(summary["TotalCycles"] / summary["Iterations"] / COPIES)
