"""How busy the matrix unit keeps its array and its memory port, in the whole kernel with the memory model.

All matrices are dense, 4 bits with offsets in groups of 32, the densest stream per beat. The time is that in which the MM is in the unit
and does not wait for a token; its weights are asked for when it starts, so nothing is ahead in the ring.
"""

from __future__ import annotations

import numpy as np
import pytest
from generation import config
from kernel import run_program

from flightllm.config.arch import ArchConfig
from flightllm.isa.control import BARRIER, HALT
from flightllm.isa.fields import Instruction
from flightllm.isa.load import LDV, LDW
from flightllm.isa.matrix import MM
from flightllm.isa.special import ACT
from flightllm.sim.hbm import HbmTiming
from flightllm.sim.simulator import SimOptions
from flightllm.streams import CodedMatrix, EntryFormat, Pass
from flightllm.streams.weights import pack, stream_format

MEMORIES = {"ideal": HbmTiming.ideal(), "HBM": HbmTiming()}
#: columns, and slots per channel of the matrices: one of many strips, one of a single strip
K, ROWS_PER_VPU = 2048, 8
#: bytes per channel before the weights: program, activations
ACTIVATIONS, WEIGHTS = 0x1000, 0x4000
#: what they give of the port's 64 bytes a cycle: a U280's channel 13.27 GB/s (boards/u280.toml) of 14.4 GB/s at 225 MHz
GIVES = {"ideal": 1.0, "HBM": 13.27 / 14.4}


def dense_matrix(rows: int) -> CodedMatrix:
    """Random codes and scales; the values do not matter here."""
    rng = np.random.default_rng(1)
    groups = K // 32
    q = rng.integers(-8, 8, (rows, K)).astype(np.int8)
    part = Pass(
        q,
        rng.integers(0, 256, (rows, groups)).astype(np.uint8),
        rng.integers(-2047, 2048, (rows, groups)).astype(np.int16),
    )
    formats = np.broadcast_to(np.uint8(EntryFormat(4, 16, True).byte), (rows, K // 128, 1))
    return CodedMatrix(32, rng.standard_normal(rows).astype(np.float32), (part,), formats, None)


def measure(arch: ArchConfig, strips: int, tokens: int, memory: str) -> dict[str, float]:
    """One MM of `strips` strips: its cycles; beats of the array, 64-byte beats of the port, both per cycle; the latter of what there are."""
    rows = strips * arch.channels * arch.vpus * ROWS_PER_VPU
    matrix = dense_matrix(rows)
    stream = pack(matrix, arch.channels, arch.vpus, ROWS_PER_VPU)
    data = np.zeros((arch.cores * arch.channels, WEIGHTS + stream.shape[1]), np.uint8)
    activations = data[:, ACTIVATIONS:WEIGHTS].view("<f4")
    activations[:] = np.random.default_rng(2).standard_normal(activations.shape)
    data[:, WEIGHTS:] = np.tile(stream, (arch.cores, 1))
    row, slots = K // 16 + 1, K // arch.channels
    program: list[Instruction] = [
        LDV(addr=ACTIVATIONS, slots=slots, rows=1, dst=0),
        BARRIER(),
        ACT(src=0, dst=1024, n0=tokens, n1=1, len=K, quant="a8", ab=0, ab_s0=row),
        BARRIER(),
        LDW(addr=WEIGHTS, nbytes=stream.shape[1]),
        MM(
            ab=0, ab_row=row, tokens=tokens, k=K, slots=rows // arch.channels, dst=2048, dst_row=rows // 16,
            format=stream_format(matrix, arch.channels, arch.vpus, ROWS_PER_VPU), group="32", rows_per_vpu=str(ROWS_PER_VPU),
        ),
        HALT(),
    ]  # fmt: skip
    found = run_program(arch, program, data, options=SimOptions(timing=MEMORIES[memory]))
    cycles = found["core0.M.busy"] - found["core0.M.token"]
    beats = strips * ROWS_PER_VPU * (K // 16) * -(-tokens // 2)
    port = stream.shape[1] / 64 / cycles
    return {
        "cycles": cycles,
        "array": round(beats / cycles, 4),
        "port": round(port, 4),
        "delivered": round(port / GIVES[memory], 4),
    }


@pytest.mark.slow
@pytest.mark.parametrize("memory", MEMORIES)
def test_matrix_mode_keeps_the_array_busy(memory, figures):
    """16 tokens: a beat in 95 % or more of the cycles, whatever memory it is."""
    arch = config(1, 4, 8)
    found = measure(arch, 4, 16, memory)
    figures("utilisation", f"16 tokens, 1 x 4 x 8, {memory}", **found)
    assert found["array"] >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("cores", "channels", "vpus"), [(1, 4, 8), (3, 1, 12)])
@pytest.mark.parametrize("memory", MEMORIES)
def test_matrix_vector_mode_keeps_the_port_busy(memory, cores, channels, vpus, figures):
    """One token: 95 % or more of what the memory gives: 64 bytes a cycle, or what HBM leaves of them."""
    arch = config(cores, channels, vpus)
    found = measure(arch, 24 // (channels * vpus // 12), 1, memory)
    figures("utilisation", f"1 token, {cores} x {channels} x {vpus}, {memory}", **found)
    assert found["delivered"] >= 0.95
