"""The architecture config: every parameter of the hardware that RTL, HLS, compiler and cycle model share.

It is one record; a change of it changes generated headers, layouts and programs. It is stored in the package and compared
before a package runs on anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_type_hints

from flightllm.errors import ConfigError


@dataclass(frozen=True)
class ArchConfig:
    """Parameters of one accelerator build. Sizes are per core unless said otherwise."""

    #: computing cores, one per SLR as a rule; all run the same program
    cores: int = 1
    #: memory channels per core, a power of two up to 32; each feeds one MPU
    channels: int = 4
    #: VPUs per MPU, a multiple of 4: rows of weights in a beat of a stream
    vpus: int = 8
    #: VPUs that share a CSD-chain of 16 DSPs, 1 or 2: two do their rows at once for a single token and in turn for two (docs/rtl.md)
    chain_vpus: int = 1
    #: fp32 lanes of the special-function unit: 4, 8 or 16 (a word of the vector buffer)
    lanes: int = 16
    #: AXI data width of a memory channel in bits: 128, 256 or 512
    port_bits: int = 512
    #: bytes of memory behind one channel
    channel_bytes: int = 256 << 20
    #: vector buffer (VB), fp32 elements
    vb_elements: int = 256 << 10
    #: activation buffer (AB), windows of 16 codes
    ab_windows: int = 64 << 10
    #: mask buffer (MB), bytes
    mb_bytes: int = 4 << 10
    #: weight ring, bytes per channel
    w_ring_bytes: int = 64 << 10
    #: KV ring, bytes per channel
    k_ring_bytes: int = 16 << 10
    #: integer accumulators per VPU (tokens x rows per VPU that one matrix instruction may keep open)
    acc_entries: int = 512
    #: tokens of a chunk at most
    max_chunk: int = 64
    #: depth of each unit's instruction queue
    queue_depth: int = 16
    #: kernel clock
    clock_mhz: float = 225.0

    def __post_init__(self) -> None:
        def check(ok: bool, name: str, rule: str) -> None:
            if not ok:
                raise ConfigError(
                    f"architecture config: {name} = {getattr(self, name)} is not legal",
                    why=rule,
                    do=f"set {name} accordingly in the config",
                )

        check(1 <= self.cores <= 4, "cores", "1 to 4")
        check(self.channels in (1, 2, 4, 8, 16, 32), "channels", "a power of two from 1 to 32")
        check(self.vpus % 4 == 0 and 4 <= self.vpus <= 64, "vpus", "a multiple of 4 from 4 to 64")
        check(self.chain_vpus in (1, 2), "chain_vpus", "1 or 2")
        check(self.lanes in (4, 8, 16), "lanes", "4, 8 or 16")
        check(self.port_bits in (128, 256, 512), "port_bits", "128, 256 or 512")
        check(1 <= self.max_chunk <= 1024, "max_chunk", "1 to 1024 tokens")
        check(self.acc_entries >= 8, "acc_entries", "at least 8")
        check(2 <= self.queue_depth <= 1024, "queue_depth", "2 to 1024")
        for name in ("channel_bytes", "vb_elements", "ab_windows", "mb_bytes", "w_ring_bytes", "k_ring_bytes"):
            value = getattr(self, name)
            check(value > 0 and value % 64 == 0, name, "a positive multiple of 64")
        check(self.channel_bytes <= 1 << 40, "channel_bytes", "addresses have 40 bits")
        check(self.vb_elements <= 1 << 24, "vb_elements", "addresses have 20 bits of 16 elements")
        check(self.ab_windows <= 1 << 20, "ab_windows", "addresses have 20 bits")
        check(self.mb_bytes <= 1 << 16, "mb_bytes", "addresses have 16 bits")
        check(0 < self.clock_mhz < float("inf"), "clock_mhz", "above 0")

    @property
    def chains(self) -> int:
        """CSD-chains per MPU."""
        return self.vpus // self.chain_vpus

    @property
    def vpus_text(self) -> str:
        """What an MPU has: "12 VPUs", "16 VPUs in 8 chains"."""
        return f"{self.vpus} VPUs" + (f" in {self.chains} chains" if self.chain_vpus > 1 else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, in field order."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: str = "architecture config") -> ArchConfig:
        """From a dictionary (TOML, JSON).

        Raises:
            ConfigError: an unknown name, or a value of the wrong type or outside its range; all say `where`.
        """
        check_types(data, where)
        try:
            return cls(**data)
        except ConfigError as error:
            raise ConfigError(error.what, where=error.where or where, why=error.why, do=error.do) from None

    def digest(self) -> str:
        """16 hex digits that name this config."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def check_types(data: Mapping[str, Any], where: str) -> None:
    """Whether parameters have known names and values of their types; a whole number is a legal clock.

    Raises:
        ConfigError: one has not.
    """
    known = get_type_hints(ArchConfig)
    unknown = sorted(str(name) for name in data if name not in known)
    if unknown:
        raise ConfigError(
            f"unknown parameter {', '.join(unknown)}", where=where, do=f"known parameters: {', '.join(known)}"
        )
    for name, value in data.items():
        wanted, kind = ((int,), "whole number") if known[name] is int else ((int, float), "number")
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ConfigError(
                f"architecture config: {name} = {value!r} is not legal",
                where=where,
                why=f"it is not a {kind}",
                do=f"set {name} to a {kind}, without quotes",
            )
