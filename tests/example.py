"""A machine and workloads made in code, so that model tests stand on no file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulator.machine import (
    CacheLevel,
    Caches,
    Clock,
    Core,
    Duration,
    Machine,
    MatrixUnit,
    Memory,
    Prefetcher,
    Rate,
    Software,
    Tlb,
    VectorUnit,
)
from simulator.workload import GemmFfn, LookupFfn, Workload

MIB = 2.0**20


def machine(**changes: Any) -> Machine:
    """An 8-core 512-bit CPU at 4 GHz with one 32 MiB L3 and twelve DDR5-6000 channels."""
    base = Machine(
        name="example",
        vendor="none",
        microarchitecture="none",
        cores_per_socket=8.0,
        isa=("avx2", "avx512", "avx512_bf16", "avx512_vnni"),
        clock=Clock(scalar=((1.0, 4e9),)),
        core=Core(
            issue_width=8.0,
            load_bytes_per_cycle=128.0,
            store_bytes_per_cycle=64.0,
            vector_window_uops=130.0,
            demand_lines_in_flight=24.0,
            vector=VectorUnit(
                width_bits=512.0,
                fma_per_cycle=2.0,
                alu_per_cycle=4.0,
                convert_per_cycle=2.0,
                dot_bf16_per_cycle=2.0,
                dot_int16_per_cycle=2.0,
                dot_int8_per_cycle=2.0,
            ),
        ),
        caches=Caches(
            L1=CacheLevel(48.0 * 1024, 12.0, Duration(4.0), Rate(128.0)),
            L2=CacheLevel(MIB, 16.0, Duration(14.0), Rate(64.0)),
            L3=CacheLevel(
                32.0 * MIB,
                16.0,
                Duration(50.0),
                Rate(25.0),
                cores_per_instance=8.0,
                inclusion="exclusive",
                shared_bandwidth=Rate(175.0),
            ),
        ),
        tlb=Tlb(96.0, 96.0, 4096.0, 4096.0, page_walkers=6.0),
        prefetcher=Prefetcher(stream_lines_in_flight=75.0, row_lines_in_flight=30.0, software_lines_in_flight=64.0),
        memory=Memory(
            "DDR5",
            12.0,
            6e9,
            576e9,
            500e9,
            140e-9,
            768.0 * 2**30,
            core_bandwidth_bytes_per_second=45e9,
            link_bandwidth_bytes_per_second=62e9,
        ),
        software=Software(
            gemm_efficiency_fp32=((1.0, 0.5), (8.0, 0.8), (64.0, 0.92)),
            gemm_efficiency_bf16=((1.0, 0.5), (8.0, 0.75), (64.0, 0.9)),
            gemm_efficiency_int8=((1.0, 0.4), (8.0, 0.7), (64.0, 0.85)),
            gemm_efficiency_tile=((1.0, 0.5), (64.0, 0.7)),
            kernel_efficiency=0.9,
            library_overlap_cache=2.0,
            library_overlap_memory=1.15,
            kernel_overlap_cache=6.0,
            kernel_overlap_memory=2.5,
            library_call=Duration(0.0, 0.45e-6),
            barrier=Duration(0.0, 0.3e-6),
            barrier_per_doubling=Duration(0.0, 0.25e-6),
        ),
        id="example",
    )
    return replace(base, **changes)


def with_tiles(base: Machine) -> Machine:
    """`base` with an AMX-like unit: 1024 bf16 FLOP a cycle."""
    unit = MatrixUnit(16.0, 16.0, 64.0, 8.0, 16.0)
    return replace(base, isa=(*base.isa, "amx_bf16", "amx_int8"), core=replace(base.core, matrix=unit))


def gemm(dtype: str = "fp32", **changes: Any) -> Workload:
    """RoBERTa-small's FFN: 512-2048-512, 4 layers."""
    workload = Workload("gemm", GemmFfn(512.0, 2048.0, dtype=dtype), layers=4.0, batch=512.0, threads=1.0)  # type: ignore[arg-type]
    return replace(workload, **changes)


def lookup(tables: str = "fp32", projection: str = "fp32", **changes: Any) -> Workload:
    """t128-s8-bh4, 4 layers."""
    operator = LookupFfn(512.0, 512.0, 128.0, 256.0, table_dtype=tables, projection_dtype=projection)  # type: ignore[arg-type]
    return replace(Workload("lookup", operator, layers=4.0, batch=512.0, threads=1.0), **changes)
