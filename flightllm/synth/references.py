"""References: larger pieces, or other sizes, that are synthesised as they are and against which the estimator is held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flightllm.synth.units import UNITS, Unit, sample_arch


@dataclass(frozen=True)
class Reference:
    """One synthesis that no coefficient is fitted to."""

    name: str
    what: str
    #: the unit whose module is synthesised
    top: str
    #: config, as changes to units.sample_arch
    arch: dict[str, Any]
    #: units that it consists of, with their numbers
    units: Mapping[str, int]
    #: modules left out
    boxes: tuple[str, ...] = ()
    wide_muxes: bool = False

    def unit(self) -> Unit:
        """The top's unit."""
        (found,) = [u for u in UNITS if u.name == self.top]
        return found

    def parameters(self, arch: Any) -> dict[str, int]:
        """Parameters of the top module."""
        return self.unit().parameters(arch)


#: a whole core, as small as one can be and still have all that a large one has
CORE = {"channels": 2, "vpus": 4, "lanes": 4}

REFERENCES: tuple[Reference, ...] = (
    Reference(
        "mpu_tile", "one MPU with 8 VPUs and all that is in it, flat", "mpu", {"vpus": 8},
        {"mpu": 1, "vpu": 8, "vpu_scale": 8}, wide_muxes=True,
    ),
    Reference(
        "mpu_tile_shared", "one MPU with 8 VPUs in 4 chains and all that is in it, flat", "mpu", {"vpus": 8, "chain_vpus": 2},
        {"mpu": 1, "vpu": 4, "vpu_scale": 4}, wide_muxes=True,
    ),
    Reference("axi_reader_256", "reader of a 256-bit port", "axi_reader", {"port_bits": 256}, {"axi_reader": 1}),
    Reference("weight_unit_8", "weight unit of 8 channels", "weight_unit", {"channels": 8}, {"weight_unit": 1}),
    Reference("ring_80k", "rings of 64 and 16 KiB", "ring", {"w_ring_bytes": 65536, "k_ring_bytes": 16384}, {"ring": 1}),
    Reference("counters_4", "counters of 4 channels", "core_counters", {"channels": 4}, {"core_counters": 1}),
    Reference("vpu_scale_2048", "scale stage with 2,048 accumulators", "vpu_scale", {"acc_entries": 2048}, {"vpu_scale": 1}, wide_muxes=True),
    Reference(
        "core", "a whole core: 2 channels, 4 VPUs, 4 lanes, flat", "flightllm_core", CORE,
        {u.name: u.count(sample_arch(CORE)) for u in UNITS if u.name not in ("axil_control", "exchange")},
    ),
)  # fmt: skip
