"""Recorded predictions: the same on every host to 1e-9. `python -m tests.golden` writes them anew after a model change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from simulator.comparison import EQUAL_DTYPES, GEMM_DTYPES
from simulator.predict import predict
from simulator.specfile import available_machines, load_machine
from simulator.workload import with_dtype
from simulator.workloadfile import load_workload

FILE = Path(__file__).parent / "golden" / "predictions.json"
FORMS = (("roberta-small", GEMM_DTYPES), ("lookupffn-t128-s8-bh4", EQUAL_DTYPES), ("hypo-llama32-1b-t512", ("bf16",)))
BATCHES = (1.0, 64.0, 4096.0)


def predictions() -> dict[str, float]:
    """'machine workload dtype batch threads' -> seconds per call, for every shipped machine."""
    found = {}
    for machine in available_machines():
        cpu = load_machine(machine)
        for name, dtypes in FORMS:
            for dtype in dtypes:
                for batch in BATCHES:
                    for threads in (1.0, cpu.cores_per_socket):
                        task = replace(with_dtype(load_workload(name), dtype), batch=batch, threads=threads)
                        key = f"{machine} {name} {dtype} {batch:g} {threads:g}"
                        found[key] = predict(cpu, task).seconds_per_call
    return found


def main() -> None:
    """Records the predictions of this version of the model."""
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(predictions(), indent=0) + "\n")


if __name__ == "__main__":
    main()
