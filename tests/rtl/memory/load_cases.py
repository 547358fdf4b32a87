"""Random programs of unit L with what the functional executor makes of them, for the benches of load_unit and load_request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dispatch import dispatch

from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.executors.functional.core import Core
from flightllm.executors.functional.weights import WeightCache
from flightllm.isa.fields import Instruction
from flightllm.isa.load import LDG, LDK, LDM, LDS, LDV

VB, MB, MEMORY = 1 << 12, 256, 1 << 15
#: rows of LDG's tables, and where the token ids are
IDS, ID_LINES = 20, 16
ID_AREA = MEMORY - 64 * ID_LINES


@dataclass
class Step:
    """One instruction: its dispatch_t, masks, and the state once it has ended."""

    inst: Instruction
    word: int
    vb: np.ndarray  #: uint32 [elements]
    mb: np.ndarray  #: uint8 [bytes]
    keys: int  #: bytes pushed so far, per channel
    mb_before: np.ndarray


@dataclass
class Program:
    channels: int
    mem: np.ndarray  #: uint8 [C, bytes]
    vb: np.ndarray  #: uint32 [elements], at the start
    mb: np.ndarray
    regs: list[int]  #: R8..R15
    steps: list[Step] = field(default_factory=list)
    keys: np.ndarray | None = None  #: uint8 [C, bytes], all that is pushed
    error: int = 0  #: 4: an LDG at the end meets an id outside its table


class Generator:
    """Instructions one after another, executed as they are made."""

    def __init__(self, channels: int, seed: int) -> None:
        self.c = channels
        self.rng = np.random.default_rng(seed)
        arch = ArchConfig(channels=channels, vb_elements=VB, mb_bytes=MB, channel_bytes=MEMORY)
        mem = self.rng.integers(0, 256, (channels, MEMORY)).astype(np.uint8)
        # token ids for LDG, 16 of them every 64 bytes; the last line begins with a good one and a bad one
        lines = self.rng.integers(0, IDS, (ID_LINES, 16)).astype(np.int32)
        lines[-1, 1] = self.pick(IDS, 1 << 20, -1)
        mem[0, ID_AREA:] = lines.view(np.uint8).reshape(-1)
        self.core = Core(arch, mem, MEMORY, 0, WeightCache(0))
        self.core.vb[:] = self.rng.standard_normal(VB)
        self.core.mb[:] = self.rng.integers(0, 256, MB)
        self.core.regs[8:16] = [int(x) for x in self.rng.integers(-3, 4, 8)]
        self.keys: list[np.ndarray] = []
        self.program = Program(
            channels, mem.copy(), self.core.vb.view(np.uint32).copy(), self.core.mb.copy(), self.core.regs[8:16]
        )

    def pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def upto(self, n: int) -> int:
        return int(self.rng.integers(0, n + 1))

    def add(self, inst: Instruction) -> None:
        inst.wait, inst.signal = self.upto(15), self.upto(15)
        word = int.from_bytes(dispatch(inst, self.core.regs), "little")
        before = self.core.mb.copy()
        try:
            inst.execute(self.core, inst.resolve(self.core.regs))
        except ProgramError as e:
            assert "token id" in str(e)
            self.program.error = 4
        while self.core.k_ring:
            self.keys.append(self.core.k_ring.popleft()[2])
        keys = sum(k.shape[1] for k in self.keys)
        state = (self.core.vb.view(np.uint32).copy(), self.core.mb.copy())
        self.program.steps.append(Step(inst, word, *state, keys, before))

    def vectors(self, gather: bool) -> None:
        """LDV or LDG. Rows in memory begin at 64 bytes; any number of slots."""
        dtype, rows = self.pick("f32", "f16"), self.pick(0, 1, 2, 3, 5)
        slots = self.pick(0, 1, 15, 16, 17, 32, self.upto(min(70, VB // self.c // 8)))
        slots = min(slots, VB // self.c // 8)
        row = 64 * (-(-slots * (4 if dtype == "f32" else 2) // 64) + self.upto(2))
        dst_row = -(-slots * self.c // 16) + self.upto(1)
        dst = self.upto(max(0, VB // 16 - max(1, rows) * dst_row - 1))
        fields = {"dtype": dtype, "row": row, "slots": slots, "rows": rows, "dst": dst, "dst_row": dst_row}
        if not gather:
            r = int(self.rng.integers(8, 16))
            if self.rng.random() < 0.3 and rows:  # a count by register, down to less than none
                fields["rows"], fields["rows_r"] = max(0, rows - max(0, self.core.regs[r])), r
                if fields["rows"] + self.core.regs[r] > rows:
                    fields["rows"] = 0
                    del fields["rows_r"]
            return self.add(LDV(addr=64 * self.upto((MEMORY - row * 6) // 64), **fields))
        table = 64 * self.upto((MEMORY - IDS * row) // 64)
        ids = ID_AREA + 64 * self.upto(ID_LINES - 2) + 4 * self.upto(15)
        return self.add(LDG(ids=ids, table=table, limit=IDS + self.upto(3), **fields))

    def bad_gather(self) -> None:
        """An LDG whose second id is not in the table."""
        ids = MEMORY - 64
        self.add(LDG(dtype="f32", ids=ids, table=0, row=64, limit=IDS, slots=1, rows=2, dst=0, dst_row=4))

    def mask(self) -> None:
        n = self.pick(0, 1, 2, 63, 64, 65, self.upto(130))
        self.add(LDM(addr=self.upto(MEMORY - 200), nbytes=n, dst=self.upto(MB - n)))

    def key_range(self) -> dict[str, int]:
        length = self.pick(0, 1, 63, 64, 65, 200, 512, int(self.rng.integers(1, 600)))
        last = max(0, length - 1) // 64
        return {"len": length, "sink": self.pick(0, 1, self.upto(last + 2)), "first": self.pick(0, self.upto(last + 2))}

    def scales(self) -> None:
        heads = self.pick(0, 1, 2, 3)
        dst_head = 64 + self.upto(3)  # room for 1,024 positions
        self.add(
            LDS(**self.key_range(), addr=2 * self.upto(2000), heads=heads, dst=self.upto(VB // 16 - heads * dst_head - 1),
                dst_head=dst_head)
        )  # fmt: skip

    def cache(self) -> None:
        kind = self.pick("K", "V")
        unit = 8 * self.upto(8 if kind == "K" and self.c < 4 else 16)
        self.add(
            LDK(
                **self.key_range(),
                kind=kind,
                unit_bytes=unit,
                addr=8 * self.upto(500),
                masked=self.upto(1),
                mask=self.upto(100),
            )
        )

    def done(self) -> Program:
        empty = np.zeros((self.c, 0), np.uint8)
        self.program.keys = np.concatenate(self.keys, axis=1) if self.keys else empty
        return self.program


def random_program(channels: int, seed: int, count: int, error: bool = False) -> Program:
    """A program with every kind of load, in random order."""
    g = Generator(channels, seed)
    g.add(LDM(addr=3, nbytes=0, dst=0))  # nothing, before anything
    makers = [lambda: g.vectors(False), lambda: g.vectors(True), g.mask, g.scales, g.cache]
    for i in range(count):
        makers[i % 5 if i < 5 else int(g.rng.integers(5))]()
    # one run of 76 beats, more than the staging holds
    g.add(LDK(len=600, sink=0, first=0, kind="V", unit_bytes=128, addr=8 * g.upto(500)))
    if error:
        g.bad_gather()
    return g.done()
