"""The units that are synthesised one by one: together they are the whole of `flightllm_top`, each part once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flightllm.config.arch import ArchConfig
from flightllm.kernel.parameters import parameters as rtl_parameters


@dataclass(frozen=True)
class Memory:
    """A memory of a unit that is meant for block RAM or UltraRAM: one write and one read port."""

    width: int
    depth: int
    ultra: bool = False
    #: bits that have a write enable of their own; 0: the whole word
    part: int = 0
    copies: int = 1

    def uram(self) -> int:
        """UltraRAMs (4,096 x 72, enables of bytes of 8 or 9 bits)."""
        if not self.ultra:
            return 0
        width = 64 if self.part and self.part % 9 else 72
        return self.copies * math.ceil(self.width / width) * math.ceil(self.depth / 4096)

    def bram36(self) -> float:
        """Block RAMs of 36 Kb, halves included, in the cheapest aspect ratio."""
        if self.ultra:
            return 0
        return self.copies * _blocks(self.width, self.depth)


def _blocks(width: int, depth: int) -> float:
    """36 Kb blocks of a memory: columns of one aspect ratio, the rest by the same rule."""
    best = math.inf
    for size, ratios in (
        (1.0, ((72, 512), (36, 1024), (18, 2048), (9, 4096))),
        (0.5, ((36, 512), (18, 1024), (9, 2048))),
    ):
        for w, d in ratios:
            full, rest = divmod(width, w)
            rows = math.ceil(depth / d)
            best = min(best, size * rows * (full + (rest > 0)))
            if full and rest:
                best = min(best, size * rows * full + _blocks(rest, depth))
    return best


def _p(arch: ArchConfig) -> dict[str, int]:
    return {name: value for name, value, _ in rtl_parameters(arch)}


@dataclass(frozen=True)
class Unit:
    """One synthesis unit.

    LUTs, registers and DSPs of a config are `terms` times coefficients, which are fitted to the samples (as many as there are terms, or more).
    Block memories are counted from `memories`; the samples check that Yosys found the same.
    """

    name: str
    module: str
    #: instances in a config, all cores
    count: Callable[[ArchConfig], int]
    parameters: Callable[[ArchConfig], dict[str, int]] = field(default=lambda a: {})
    #: modules below that are units of their own
    boxes: tuple[str, ...] = ()
    terms: tuple[Callable[[ArchConfig], float], ...] = (lambda a: 1.0,)
    samples: tuple[dict[str, Any], ...] = ({},)
    memories: Callable[[ArchConfig], list[Memory]] = field(default=lambda a: [])
    #: cover wide selections with MUXF7 and MUXF8 (yosys.synthesise)
    wide_muxes: bool = False


def sample_arch(changes: dict[str, Any]) -> ArchConfig:
    """Config of a sample: the changes to a base."""
    return ArchConfig(**{"channels": 4, "vpus": 8, "lanes": 8, "acc_entries": 512, **changes})


def _one(a: ArchConfig) -> float:
    return 1.0


def _core(a: ArchConfig) -> int:
    return a.cores


def _channel(a: ArchConfig) -> int:
    return a.cores * a.channels


def _single(a: ArchConfig) -> int:
    return 1


def _ring(a: ArchConfig) -> list[Memory]:
    rows = math.ceil(a.w_ring_bytes / 128) + math.ceil(a.k_ring_bytes / 128)
    return [Memory(64, rows, ultra=rows >= 1024, copies=16)]


def _vb(a: ArchConfig) -> list[Memory]:
    p = _p(a)
    return [Memory(512, math.ceil(p["VbWords"] / p["VbBanks"]), True, part=32, copies=p["VbBanks"])]


def _drain_lanes(a: ArchConfig) -> int:
    return min(16, 4 * a.channels)


def _bank_entries(a: ArchConfig) -> int:
    return a.acc_entries * a.chain_vpus


def _log_entries(a: ArchConfig) -> float:
    return math.ceil(math.log2(_bank_entries(a)))


def _shared(a: ArchConfig) -> float:
    return a.chain_vpus - 1


#: units from the leaves up: a unit stands behind those that it has as boxes
UNITS: tuple[Unit, ...] = (
    Unit(
        "vpu", "vpu", lambda a: a.cores * a.channels * a.chains,
        lambda a: {"ChainVpus": a.chain_vpus},
        terms=(_one, _shared),
        samples=({}, {"chain_vpus": 2}),
        wide_muxes=True,
    ),
    Unit(
        "vpu_scale", "vpu_scale", lambda a: a.cores * a.channels * a.chains,
        lambda a: {"Entries": _bank_entries(a), "ChainVpus": a.chain_vpus},
        terms=(_one, _log_entries, _shared),
        samples=({"acc_entries": 512}, {"acc_entries": 1024}, {"acc_entries": 512, "chain_vpus": 2}),
        memories=lambda a: [Memory(48, _bank_entries(a), copies=2)],
        wide_muxes=True,
    ),
    Unit(
        "mpu", "mpu", _channel,
        lambda a: {"Vpus": a.vpus, "ChainVpus": a.chain_vpus, "Entries": a.acc_entries},
        boxes=("vpu", "vpu_scale"),
        terms=(_one, lambda a: a.vpus, lambda a: a.vpus * _shared(a)),
        samples=({"vpus": 4}, {"vpus": 12}, {"vpus": 12, "chain_vpus": 2}),
    ),
    Unit(
        "matrix_fetch", "matrix_fetch", _core,
        lambda a: {"Vpus": a.vpus, "Channels": a.channels},
        samples=({"vpus": 12, "channels": 32},),
    ),
    Unit(
        "matrix_execute", "matrix_execute", _core,
        lambda a: {"Entries": a.acc_entries, "ChainVpus": a.chain_vpus},
        terms=(_one, _shared),
        samples=({}, {"chain_vpus": 2}),
    ),
    Unit(
        "matrix_drain", "matrix_drain", _core,
        lambda a: {"Vpus": a.vpus, "ChainVpus": a.chain_vpus, "Channels": a.channels, "Entries": a.acc_entries},
        terms=(_one, _drain_lanes, lambda a: a.vpus * a.channels, _shared),
        samples=(
            {"channels": 1, "vpus": 4}, {"channels": 4, "vpus": 4}, {"channels": 8, "vpus": 12},
            {"channels": 8, "vpus": 12, "chain_vpus": 2},
        ),
        wide_muxes=True,
    ),
    Unit(
        "matrix_unit", "matrix_unit", _core,
        lambda a: {"Vpus": a.vpus, "ChainVpus": a.chain_vpus, "Channels": a.channels, "Entries": a.acc_entries},
        boxes=("matrix_fetch", "matrix_execute", "matrix_drain", "mpu"),
        terms=(_one, lambda a: a.channels),
        samples=({"channels": 2, "vpus": 4}, {"channels": 32, "vpus": 4}),
    ),
    Unit(
        "ring", "ring", _channel, lambda a: {"WBytes": a.w_ring_bytes, "KBytes": a.k_ring_bytes},
        samples=({"w_ring_bytes": 163840, "k_ring_bytes": 32768},),
        memories=_ring,
    ),
    Unit(
        "axi_reader", "axi_reader", _channel, lambda a: {"PortBits": a.port_bits},
        terms=(_one, lambda a: 512 // a.port_bits - 1),
        samples=({"port_bits": 512}, {"port_bits": 128}),
    ),
    Unit(
        "axi_writer", "axi_writer", _channel, lambda a: {"PortBits": a.port_bits},
        terms=(_one, lambda a: 512 // a.port_bits - 1),
        samples=({"port_bits": 512}, {"port_bits": 128}),
    ),
    Unit("instruction_fetch", "instruction_fetch", _core),
    Unit("sequencer", "sequencer", _core),
    Unit(
        "unit_queue", "fifo", lambda a: 5 * a.cores, lambda a: {"Width": _dispatch_bits(), "Depth": a.queue_depth},
        samples=({"queue_depth": 16},),
    ),
    Unit("tokens", "tokens", _core),
    Unit(
        "vector_buffer", "vector_buffer", _core,
        lambda a: {"Words": _p(a)["VbWords"], "Banks": _p(a)["VbBanks"], "ReadClients": 6, "WriteClients": 4},
        terms=(_one, lambda a: math.ceil(a.vb_elements / 64 / 4096)),
        samples=({"vb_elements": 1 << 18}, {"vb_elements": 4 << 18}),
        memories=_vb,
    ),
    Unit(
        "activation_buffer", "activation_buffer", _core, lambda a: {"Windows": a.ab_windows},
        terms=(_one, lambda a: math.ceil(a.ab_windows / 2 / 4096)),
        samples=({"ab_windows": 8192}, {"ab_windows": 32768}),
        memories=lambda a: [Memory(128, math.ceil(a.ab_windows / 2), True, copies=4)],
    ),
    Unit(
        "mask_buffer", "mask_buffer", _core, lambda a: {"Bytes": a.mb_bytes},
        memories=lambda a: [Memory(8, a.mb_bytes, copies=3)],
    ),
    Unit(
        "weight_unit", "weight_unit", _core,
        lambda a: {"Channels": a.channels, "RingBytes": a.w_ring_bytes},
        terms=(_one, lambda a: a.channels),
        samples=({"channels": 2}, {"channels": 16}),
    ),
    Unit(
        "load_unit", "load_unit", _core, lambda a: {"Channels": a.channels},
        terms=(_one, lambda a: a.channels),
        samples=({"channels": 2}, {"channels": 32}),
    ),
    Unit(
        "store_unit", "store_unit", _core, lambda a: {"Channels": a.channels},
        terms=(_one, lambda a: a.channels),
        samples=({"channels": 2}, {"channels": 32}),
    ),
    Unit(
        "sfu_lanes", "sfu_lanes", _core, lambda a: {"Lanes": a.lanes},
        terms=(_one, lambda a: a.lanes),
        samples=({"lanes": 4}, {"lanes": 16}),
    ),
    Unit(
        "special_sum", "special_sum", _core, lambda a: {"Lanes": a.lanes},
        terms=(_one, lambda a: a.lanes),
        samples=({"lanes": 4}, {"lanes": 16}),
    ),
    Unit("scalar_unit", "scalar_unit", _core),
    Unit(
        "special_unit", "special_unit", _core, lambda a: {"Lanes": a.lanes},
        boxes=("sfu_lanes", "special_sum", "scalar_unit"),
        terms=(_one, lambda a: a.lanes),
        samples=({"lanes": 4}, {"lanes": 16}),
    ),
    Unit(
        "core_counters", "core_counters", _core, lambda a: {"Channels": a.channels, "PortBits": a.port_bits},
        terms=(_one, lambda a: a.channels),
        samples=({"channels": 2}, {"channels": 8}),
    ),
    Unit(
        "axil_control", "axil_control", _single,
        lambda a: {"Cores": a.cores, "Channels": a.channels, "Vpus": a.vpus, "Lanes": a.lanes},
        terms=(_one, lambda a: a.cores, lambda a: a.cores * a.channels),
        samples=({"cores": 1, "channels": 2}, {"cores": 1, "channels": 8}, {"cores": 2, "channels": 4}),
    ),
    Unit(
        "exchange", "exchange", _single, lambda a: {"Cores": a.cores},
        terms=(_one, lambda a: a.cores - 1),
        samples=({"cores": 1}, {"cores": 3}),
    ),
    Unit(
        "flightllm_core", "flightllm_core", _core,
        lambda a: {k: v for k, v in _p(a).items() if k not in ("Cores", "MaxChunk")},
        boxes=(
            "axi_reader", "axi_writer", "instruction_fetch", "sequencer", "fifo", "tokens", "vector_buffer", "activation_buffer",
            "mask_buffer", "ring", "weight_unit", "load_unit", "matrix_unit", "special_unit", "store_unit", "core_counters",
        ),
        terms=(_one, lambda a: a.channels),
        samples=({"channels": 2, "vpus": 4, "lanes": 4}, {"channels": 32, "vpus": 4, "lanes": 4}),
    ),
)  # fmt: skip


def _dispatch_bits() -> int:
    """Width of `flightllm_isa_pkg::dispatch_t`: the instruction and its resolved operands."""
    from flightllm.config.paths import data_dir

    text = (data_dir("rtl") / "flightllm_isa_pkg.sv").read_text()
    operands = re.search(r"MaxOperands = (\d+)", text)
    assert operands is not None
    return 512 + 40 * int(operands.group(1))
