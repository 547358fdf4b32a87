"""State of one core and the views that instruction semantics work on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.executors.functional.weights import DecodedMatrix, WeightCache
from flightllm.isa.blocks import units_of
from flightllm.isa.fields import REGISTERS, Instruction, Operands
from flightllm.numerics import quant


class Core:
    """Memories, registers and rings of one core.

    mem: uint8 [C, bytes], the core's memory. vb: float32 [vb_elements]. ab: int8 [ab_windows, 16]. mb: uint8 [mb_bytes].
    const_bytes: memory below this offset holds the images and is never written by a program.
    """

    def __init__(self, arch: ArchConfig, mem: np.ndarray, const_bytes: int, core_id: int, cache: WeightCache) -> None:
        self.arch = arch
        self.channels = arch.channels
        self.mem = mem
        self.const_bytes = const_bytes
        self.core_id = core_id
        self.cache = cache
        self.regs = [0] * REGISTERS
        self.vb = np.zeros(arch.vb_elements, np.float32)
        self.ab = np.zeros((arch.ab_windows, 16), np.int8)
        self.mb = np.zeros(arch.mb_bytes, np.uint8)
        self.w_ring: deque[tuple[int, int]] = deque()
        self.k_ring: deque[tuple[str, list[int], np.ndarray]] = deque()
        self.exchange: tuple[np.ndarray, Operands] | None = None

    # --- memory -------------------------------------------------------------------------------------------------
    def check_memory(self, addr: int, nbytes: int, inst: Instruction, write: bool = False) -> None:
        """Raise ProgramError if [addr, addr + nbytes) is outside the memory, or inside the images for a write."""
        if addr + nbytes > self.mem.shape[1]:
            raise ProgramError(
                f"access to memory beyond its end: {addr:#x} + {nbytes}",
                where=str(inst),
                why=f"the channel has {self.mem.shape[1]:#x} bytes",
            )
        if write and addr < self.const_bytes:
            raise ProgramError(
                f"write to the constant part of memory: {addr:#x}",
                where=str(inst),
                why=f"it ends at {self.const_bytes:#x}",
            )

    def memory(self, addr: int, nbytes: int, inst: Instruction) -> np.ndarray:
        """View uint8 [C, nbytes] for reading."""
        self.check_memory(addr, nbytes, inst)
        return self.mem[:, addr : addr + nbytes]

    def store(self, addr: int, nbytes: int, inst: Instruction) -> np.ndarray:
        """View uint8 [C, nbytes] for writing."""
        self.check_memory(addr, nbytes, inst, write=True)
        return self.mem[:, addr : addr + nbytes]

    # --- VB, MB -------------------------------------------------------------------------------------------------
    def vb_elements(self, base: int, counts: Sequence[int], strides: Sequence[int], length: int) -> np.ndarray:
        """Strided view float32 [*counts, length] of VB; base and strides in elements."""
        top = base + length + sum(max(0, c - 1) * s for c, s in zip(counts, strides, strict=True))
        if length > 0 and (top > self.vb.size or length * prod(counts) > self.vb.size):
            raise ProgramError(
                f"access beyond VB: element {top - 1} of {self.vb.size}, {list(counts)} rows of {length}"
            )
        if base > self.vb.size or length <= 0:
            return np.zeros((*counts, 0), np.float32)
        if not counts:
            return self.vb[base : base + length]
        return np.ndarray((*counts, length), np.float32, self.vb, 4 * base, (*(4 * s for s in strides), 4))

    def vb_rows(self, base: int, counts: Sequence[int], strides: Sequence[int], length: int) -> np.ndarray:
        """The same with base and strides in VB units of 16 elements."""
        return self.vb_elements(16 * base, counts, [16 * s for s in strides], length)

    def mb_bytes(self, base: int, nbytes: int, inst: Instruction) -> np.ndarray:
        """View of MB."""
        if base + nbytes > self.mb.size:
            raise ProgramError(f"access beyond MB: byte {base + nbytes - 1} of {self.mb.size}", where=str(inst))
        return self.mb[base : base + nbytes]

    # --- AB -----------------------------------------------------------------------------------------------------
    def _ab_view(self, base: int, counts: Sequence[int], strides: Sequence[int], windows: int) -> np.ndarray:
        top = base + windows + sum(max(0, c - 1) * s for c, s in zip(counts, strides, strict=True))
        if top > self.ab.shape[0] or windows * prod(counts) > self.ab.shape[0]:
            raise ProgramError(
                f"access beyond AB: window {top - 1} of {self.ab.shape[0]}, {list(counts)} rows of {windows}"
            )
        return np.ndarray((*counts, windows, 16), np.int8, self.ab, 16 * base, (*(16 * s for s in strides), 16, 1))

    def _ab_scales(self, base: int, counts: Sequence[int], strides: Sequence[int]) -> np.ndarray:
        # The first four bytes of a row's header window are its scale.
        return np.ndarray(tuple(counts), np.float32, self.ab, 16 * base, tuple(16 * s for s in strides))

    def ab_codes(
        self, base: int, counts: Sequence[int], strides: Sequence[int], length: int, dual: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """(codes [*counts, length rounded up to 16], scales float32 [*counts]) of AB rows; dual codes are recombined."""
        n = -(-length // 16)
        rows = self._ab_view(base, counts, strides, 1 + n * (2 if dual else 1))
        scales = self._ab_scales(base, counts, strides).copy()
        if dual:
            codes = rows[..., 1::2, :].astype(np.int32) * 128 + rows[..., 2::2, :]
        else:
            codes = rows[..., 1:, :]
        return codes.reshape(*counts, 16 * n), scales

    def quantise(self, y: np.ndarray, kind: str, base: int, strides: Sequence[int]) -> None:
        """Quantise phase of an SFU instruction: y [n0, n1, len] -> AB rows."""
        codes, scale = quant.quantise(y, kind)
        if kind == "dual":
            self.put_dual(codes, scale, base, strides)
            return
        counts, n = y.shape[:-1], -(-y.shape[-1] // 16)
        padded = np.zeros((*counts, 16 * n), np.int8)
        padded[..., : y.shape[-1]] = codes
        rows = self._ab_view(base, counts, strides, 1 + n)
        rows[..., 1:, :] = padded.reshape(*counts, n, 16)
        self._put_scales(base, counts, strides, scale)

    def put_dual(
        self, codes: np.ndarray, scale: np.ndarray, base: int, strides: Sequence[int], blocks: list[int] | None = None
    ) -> None:
        """Dual codes [n0, n1, len] -> AB rows; with `blocks`, only the windows of those blocks."""
        counts, length = codes.shape[:-1], codes.shape[-1]
        n = -(-length // 16)
        padded = np.zeros((*counts, 16 * n), codes.dtype)
        padded[..., :length] = codes
        high, low = quant.split_dual(padded.reshape(*counts, n, 16))
        rows = self._ab_view(base, counts, strides, 1 + 2 * n)
        spans = [(0, n)] if blocks is None else [units_of(b, length, 16) for b in blocks]
        for lo, hi in spans:
            rows[..., 1 + 2 * lo : 1 + 2 * hi : 2, :] = high[..., lo:hi, :]
            rows[..., 2 + 2 * lo : 2 + 2 * hi : 2, :] = low[..., lo:hi, :]
        self._put_scales(base, counts, strides, scale)

    def _put_scales(self, base: int, counts: Sequence[int], strides: Sequence[int], scale: np.ndarray) -> None:
        header = self._ab_view(base, counts, strides, 1)
        header[...] = 0
        self._ab_scales(base, counts, strides)[...] = scale

    # --- rings --------------------------------------------------------------------------------------------------
    def push(self, ring: deque[Any], stream: Any, inst: Instruction) -> None:
        """Append a stream to a ring; raise ProgramError when far more are waiting than a unit's queue could hold."""
        if len(ring) > 4 * self.arch.queue_depth:
            raise ProgramError(f"{len(ring)} streams wait in a ring", where=str(inst), why="loads without consumers")
        ring.append(stream)

    def pop_weights(self, o: Operands, inst: Instruction) -> DecodedMatrix:
        """The matrix at the head of the W ring, decoded."""
        if not self.w_ring:
            raise ProgramError("the W ring is empty", where=str(inst), why="MM before its LDW")
        addr, nbytes = self.w_ring.popleft()
        return self.cache.get(self, addr, nbytes, o, inst)

    def pop_kv(self, kind: str, blocks: list[int], inst: Instruction) -> np.ndarray:
        """Bytes uint8 [C, n] of one head's stream; it must be the one the instruction asks for."""
        if not self.k_ring:
            raise ProgramError("the K ring is empty", where=str(inst), why="MMQK or MMPV before its LDK")
        got, have, data = self.k_ring.popleft()
        if got != kind or have != blocks:
            raise ProgramError(
                "the K ring holds another stream than the instruction takes",
                where=str(inst),
                why=f"ring: {got} blocks {have}; instruction: {kind} blocks {blocks}",
            )
        return data

    def finish(self) -> None:
        """Check the state that HALT requires."""
        if self.w_ring or self.k_ring:
            raise ProgramError(
                f"HALT with {len(self.w_ring)} weight and {len(self.k_ring)} KV streams left in the rings"
            )

    def snapshot(self) -> dict[str, Any]:
        """State for error reports: registers and ring levels."""
        return {"core": self.core_id, "regs": list(self.regs), "w_ring": len(self.w_ring), "k_ring": len(self.k_ring)}
