"""tiny-austen in many ways: what its weights, cache and attention can be, and the configs it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from packages import build, small_arch

from flightllm.api import find_model
from flightllm.config.arch import ArchConfig
from flightllm.frontends import load_model
from flightllm.package import Package

#: a whole generation: a prompt in chunks, then single tokens
PROMPT = [int(x) for x in np.random.default_rng(1).integers(3, 512, 100)]
CHUNKS = (32, 31, 32, 5)
NEW = 64

#: fields of a recipe's `default`
WEIGHTS: dict[str, dict[str, Any]] = {
    "2 bits": {"weights": 2, "group": 32},
    "3 bits": {"weights": 3, "group": 64},
    "4 bits": {"weights": 4, "group": 32},
    "5 bits": {"weights": 5, "group": 128},
    "6 bits": {"weights": 6, "group": 32},
    "8 bits": {"weights": 8, "group": 128},
    "2:16": {"weights": 8, "sparsity": 2},
    "4:16": {"weights": 6, "sparsity": 4},
    "8:16": {"weights": 4, "sparsity": 8},
    "mixed": {"weights": 3.5, "group": 32},  # formats change within each matrix
    "two passes": {"passes": [{"bits": 3, "affine": True}, {"bits": 8, "n": 2}], "activations": "dual"},
}
ATTENTION: dict[str, dict[str, Any]] = {
    "full": {},
    "mask": {"attention": {"kind": "local+global", "local": 1, "global": 0, "stride": 0}},
    "window": {"attention": {"kind": "window", "window": 40, "sink": 4}},
}


@dataclass(frozen=True)
class Case:
    """One generation. weights: a name of WEIGHTS, or one for each of the four layers. attention: a name of ATTENTION."""

    cores: int
    channels: int
    vpus: int
    weights: str | tuple[str, str, str, str]
    kv: int
    attention: str
    chain_vpus: int = 1

    @property
    def name(self) -> str:
        weights = self.weights if isinstance(self.weights, str) else "+".join(self.weights)
        chains = f" in {self.vpus // self.chain_vpus} chains" if self.chain_vpus > 1 else ""
        return f"{self.cores} x {self.channels} x {self.vpus}{chains}, {weights}, kv {self.kv}, {self.attention}"

    @property
    def arch(self) -> ArchConfig:
        return config(self.cores, self.channels, self.vpus, self.chain_vpus)

    def recipe(self) -> dict[str, Any]:
        rules: list[dict[str, Any]] = [{"match": "attn.core", "kv": self.kv, **ATTENTION[self.attention]}]
        if isinstance(self.weights, str):
            return {"default": WEIGHTS[self.weights], "rule": rules}
        for layer, name in enumerate(self.weights):
            # groups of linears that are computed as one matrix share their format
            rules += [{"match": [f"layers.{layer}.{role}" for role in ("attn.*", "mlp.*")], **WEIGHTS[name]}]
        return {"rule": rules}

    def package(self, path: Path) -> Package:
        """tiny-austen, compiled for this case."""
        return build(load_model(find_model("tiny-austen")), path, self.arch, self.recipe())


def config(cores: int, channels: int, vpus: int, chain_vpus: int = 1) -> ArchConfig:
    """The config of a build; two cores have rings so small that they are full most of the time."""
    # half of a ring has to hold an entry of the weight stream, or the keys of a head that stand side by side
    rings = {"w_ring_bytes": max(8, vpus - 2) << 10, "k_ring_bytes": (4 if channels == 1 else 2) << 10}
    rings = rings if cores == 2 else {}
    return small_arch(cores, channels, vpus, chain_vpus=chain_vpus, **rings)
