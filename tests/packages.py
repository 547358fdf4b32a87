"""Compile a graph for a small simulated board and open it on the functional executor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flightllm.compiler import compile_model
from flightllm.compress.recipe import Recipe
from flightllm.config.arch import ArchConfig
from flightllm.config.board import load_board
from flightllm.executors.functional import FunctionalDevice
from flightllm.ir import Graph
from flightllm.package import Limits, Package

#: small configs that differ in everything a layout depends on: (cores, channels, VPUs)
CONFIGS = ((1, 1, 4), (1, 4, 8), (2, 2, 4), (3, 4, 12), (1, 32, 4))


def small_arch(cores: int = 1, channels: int = 4, vpus: int = 4, **other: Any) -> ArchConfig:
    """A config for tests."""
    return ArchConfig(**{"cores": cores, "channels": channels, "vpus": vpus, "lanes": 8, "max_chunk": 32, **other})


def build(
    graph: Graph, path: Path, arch: ArchConfig | None = None, recipe: dict[str, Any] | None = None, **options: Any
) -> Package:
    """Compile for a U280 with a fourth SLR and any config; returns the opened package."""
    arch = arch or small_arch()
    board = replace(load_board("u280"), slrs=4).with_arch(arch)
    compile_model(graph, board=board, output=path, recipe=Recipe.from_dict(recipe or {}), force=True, **options)
    return Package.open(path, verify=True)


def pieces(limits: Limits, chunks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(position, tokens) of each run, from position 0: chunks are cut to what the program takes, and where its masks change."""
    pos = 0
    for chunk in chunks:
        end = pos + chunk
        while pos < end:
            n = min(end - pos, limits.room(pos))
            yield pos, n
            pos += n


def feed(device: FunctionalDevice, ids: Sequence[int], chunks: Sequence[int], masken: bool = True) -> np.ndarray:
    """Logits of every token, fed in the given chunks from position 0; chunks are cut where the program's masks change."""
    assert device.package is not None
    assert sum(chunks) == len(ids)
    out = [
        device.run_chunk(list(ids[pos : pos + n]), pos, n, masken)
        for pos, n in pieces(device.package.manifest.limits, chunks)
    ]
    return np.concatenate(out)


def cache_bytes(device: FunctionalDevice) -> np.ndarray:
    """The whole KV cache of all cores, uint8."""
    assert device.package is not None
    regions = [r for r in device.package.manifest.memory if r.kind == "kv"]
    return np.concatenate([c.mem[:, r.addr : r.end].reshape(-1) for c in device.cores for r in regions])
