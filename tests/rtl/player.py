"""Plays arrays of inputs to a module, a clock cycle a row, and gives back its outputs: for pipelines without handshake."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flightllm.sim.verilate import build

HERE = Path(__file__).parent


def stored_bytes(bits: int) -> int:
    """Bytes in which Verilator stores a port of so many bits."""
    return next((size for size in (1, 2, 4, 8) if bits <= 8 * size), -(-bits // 32) * 4)


def pack(fields: np.ndarray, bits: int) -> np.ndarray:
    """Integers [cycles, n] -> the bytes of a packed port of n elements of `bits` bits, element 0 lowest."""
    cycles, n = fields.shape
    if bits in (8, 16, 32, 64):
        raw = np.ascontiguousarray(fields).astype(f"<i{bits // 8}").view(np.uint8).reshape(cycles, -1)
    else:
        each = (fields.astype(np.int64)[..., None] >> np.arange(bits)) & 1
        raw = np.packbits(each.reshape(cycles, n * bits).astype(np.uint8), axis=1, bitorder="little")
    out = np.zeros((cycles, stored_bytes(n * bits)), np.uint8)
    out[:, : raw.shape[1]] = raw
    return out


def unpack(raw: np.ndarray, bits: int, n: int, signed: bool = False) -> np.ndarray:
    """Bytes of a packed port -> int64 [cycles, n]."""
    if bits % 8:
        each = np.unpackbits(raw, axis=1, bitorder="little")[:, : n * bits].reshape(len(raw), n, bits)
        step = 1
    else:
        each = raw[:, : n * bits // 8].reshape(len(raw), n, bits // 8)
        step = 8
    out = np.zeros((len(raw), n), np.int64)
    for i in range(each.shape[2]):
        out |= each[..., i].astype(np.int64) << (step * i)
    return out - ((out >> (bits - 1)) << bits) if signed and bits < 64 else out


class Player:
    """A Verilated module.

    Args:
        top: module. sources: its files, packages first. parameters: of the module. clock: its clock.
        inputs, outputs: ports without the clock: bits, or (elements, bits of each).
    """

    def __init__(
        self,
        top: str,
        sources: Sequence[Path],
        inputs: Mapping[str, int | tuple[int, int]],
        outputs: Mapping[str, int | tuple[int, int]],
        parameters: Mapping[str, int] | None = None,
        clock: str = "clk_i",
    ) -> None:
        self.top = top
        self.inputs, self.outputs = (
            {name: p if isinstance(p, tuple) else (1, p) for name, p in ports.items()} for ports in (inputs, outputs)
        )
        lines = [f'#include "V{top}.h"', f"#define TOP V{top}", f"#define CLOCK {clock}"]
        for what, ports in (("INPUTS", self.inputs), ("OUTPUTS", self.outputs)):
            lines.append(f"#define {what}(F) " + " ".join(f"F({name})" for name in ports))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "ports.hpp").write_text("\n".join(lines) + "\n")
            library = build(top, sources, [HERE / "player.cpp"], parameters, [Path(folder)], level="-O0")
        self._run = ctypes.CDLL(str(library)).player_run
        self._run.restype = ctypes.c_int64

    def run(self, signed: Sequence[str] = (), **values: np.ndarray) -> dict[str, np.ndarray]:
        """Values of every input, integers [cycles] or [cycles, elements], or a number that stays -> outputs int64, likewise.

        signed: outputs in two's complement. An assertion in the module that fails is an AssertionError.
        """
        assert set(values) == set(self.inputs), set(values) ^ set(self.inputs)
        cycles = max(len(v) for v in values.values() if np.ndim(v))
        columns = []
        for name, (n, bits) in self.inputs.items():
            value = np.asarray(values[name])
            value = np.broadcast_to(value.reshape(-1, n) if value.ndim else value, (cycles, n))
            columns.append(pack(value, bits))
        data = np.ascontiguousarray(np.concatenate(columns, axis=1))
        sizes = [stored_bytes(n * bits) for n, bits in self.outputs.values()]
        out = np.zeros((cycles, sum(sizes)), np.uint8)
        played = self._run(ctypes.c_int64(cycles), ctypes.c_void_p(data.ctypes.data), ctypes.c_void_p(out.ctypes.data))
        assert played == cycles, f"an assertion in {self.top} failed in cycle {played}"
        result, at = {}, 0
        for (name, (n, bits)), size in zip(self.outputs.items(), sizes, strict=True):
            fields = unpack(out[:, at : at + size], bits, n, name in signed)
            result[name] = fields[:, 0] if n == 1 else fields
            at += size
        return result
