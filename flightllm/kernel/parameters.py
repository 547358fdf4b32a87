"""Parameters that a kernel is built for: what of the architecture config the hardware sees."""

from __future__ import annotations

import hashlib
import json

from flightllm.config.arch import ArchConfig


def parameters(arch: ArchConfig) -> list[tuple[str, int, str]]:
    """(name, value, meaning) of every parameter that the RTL sees."""
    return [
        ("Cores", arch.cores, "computing cores"),
        ("Channels", arch.channels, "memory channels of a core, an MPU each"),
        ("Vpus", arch.vpus, "VPUs of an MPU"),
        ("ChainVpus", arch.chain_vpus, "VPUs that share a CSD-chain"),
        ("Lanes", arch.lanes, "fp32 lanes of the special-function unit"),
        ("PortBits", arch.port_bits, "AXI data width of a channel"),
        ("VbWords", arch.vb_elements // 16, "vector buffer, words of 16 fp32 elements"),
        ("VbBanks", 4, "banks of the vector buffer"),
        ("AbWindows", arch.ab_windows, "activation buffer, windows of 16 codes"),
        ("MbBytes", arch.mb_bytes, "mask buffer"),
        ("WRingBytes", arch.w_ring_bytes, "weight ring, bytes of a channel"),
        ("KRingBytes", arch.k_ring_bytes, "KV ring, bytes of a channel"),
        ("AccEntries", arch.acc_entries, "accumulators of a VPU"),
        ("MaxChunk", arch.max_chunk, "tokens of a chunk at most"),
        ("QueueDepth", arch.queue_depth, "instructions in the queue of a unit"),
    ]


def build_digest(arch: ArchConfig) -> int:
    """64 bits that name the parameters: equal for configs that one kernel serves (the clock, say, is none of them)."""
    values = {name: value for name, value, _ in parameters(arch)}
    return int(hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16], 16)
