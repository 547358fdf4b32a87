"""store_unit against the functional executor: STV, STKV (K and V, 8 and 4 bits) and XCHG in random order, with slow neighbours.

Writes reach memory some cycles after a writer took them. At the moment an instruction gives its tokens, all of memory and VB is
exactly what the executor has then: every byte, also those that strobes must leave alone.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb_runner import parameter, pauses, payload, run_bench, start
from dispatch import dispatch

from flightllm.config.arch import ArchConfig
from flightllm.executors.functional.core import Core
from flightllm.executors.functional.weights import WeightCache
from flightllm.isa.fields import Instruction
from flightllm.isa.store import STKV, STV, XCHG

VB, AB, MEMORY = 1 << 12, 256, 1 << 14
CORES = 3


@dataclass
class Step:
    inst: Instruction
    word: int  #: its dispatch_t
    parts: list[np.ndarray] | None  #: XCHG: what each core sends, uint32 [words, 16]
    mem: np.ndarray  #: uint8 [C, bytes] once it has ended
    vb: np.ndarray  #: uint32 [elements]


@dataclass
class Program:
    core: int
    mem: np.ndarray
    vb: np.ndarray
    ab: np.ndarray
    steps: list[Step]


def random_program(channels: int, seed: int, count: int) -> Program:
    rng = np.random.default_rng(seed)

    def upto(n: int) -> int:
        return int(rng.integers(0, n + 1))

    def pick(*values):
        return values[upto(len(values) - 1)]

    arch = ArchConfig(channels=channels, vb_elements=VB, ab_windows=AB, channel_bytes=MEMORY)
    core = Core(arch, rng.integers(0, 256, (channels, MEMORY)).astype(np.uint8), 0, 0, WeightCache(0))
    core.vb[:] = rng.standard_normal(VB)
    core.ab[:] = rng.integers(-128, 128, core.ab.shape)
    # rows begin at every seventh window; their scales are ordinary positive numbers
    scales = (rng.random(len(core.ab[::7])) * 4 + 1e-3).astype(np.float32)
    core.ab[::7, :4] = scales.view(np.int8).reshape(-1, 4)
    core.regs[8:12] = [-2, -1, 1, 2]
    me = upto(CORES - 1)
    program = Program(me, core.mem.copy(), core.vb.view(np.uint32).copy(), core.ab.copy(), [])
    for i in range(count):
        masks = {"wait": upto(15), "signal": upto(15)}
        rows = pick({"rows": 1}, {"rows": 3}, {"rows": 1, "rows_r": 11}, {"rows": 1, "rows_r": 8}, {})
        n0 = {k.replace("rows", "n0"): v for k, v in rows.items()}
        parts = None
        if i % 3 == 0:
            slots = min(pick(0, 1, 15, 16, 17, 35), VB // channels // 8)
            row = 64 * (-(-slots // 16) + upto(1))
            inst = STV(src=upto(100), src_row=-(-slots * channels // 16) + upto(1), **rows, slots=slots, row=row,
                       addr=64 * upto((MEMORY - 3 * row) // 64), **masks)  # fmt: skip
        elif i % 3 == 1:
            kind, bits, step = pick("K", "V"), pick("8", "4"), max(16, channels)
            length = step * pick(1, 2, 3) if channels < 64 else 64
            if channels == 1:
                length = pick(16, 64, 80, 256)
            n1 = pick(1, 2, 3)
            gran = channels if kind == "K" else 16
            row_slots = length // channels
            size = length if kind == "K" else 16 * row_slots
            if bits == "4":
                size = length // 2 if kind == "K" else 16 * -(-row_slots // 2)
            unit = size + pick(0, 8, 64)
            pos = upto(2 * gran + 3)
            head = (-(-(pos + 4) // gran)) * unit + pick(0, 4, 64)
            ab_row = 1 + length // 16
            inst = STKV(kind=kind, bits=bits, ab=7 * upto(2), ab_s0=7 * pick(5, 6), ab_s1=7 * -(-ab_row // 7),
                        **n0, n1=n1, len=length, pos=pos, addr=pick(0, 4, 64, 72) + 4096, head=head, unit_bytes=unit,
                        scales=2 * upto(500), **masks)  # fmt: skip
        else:
            n = pick(1, 2, 5)
            inst = XCHG(src=upto(20), src_row=n + upto(2), dst=120, dst_row=CORES * n + upto(1), n=n, **n0, **masks)
        word = int.from_bytes(dispatch(inst, core.regs), "little")
        o = inst.resolve(core.regs)
        inst.execute(core, o)
        if isinstance(inst, XCHG):
            own, _ = core.exchange
            parts = [rng.standard_normal(own.shape).astype(np.float32) for _ in range(CORES)]
            parts[me] = own
            for k, part in enumerate(parts):
                core.vb_rows(o.dst + k * o.n, part.shape[:-1], (o.dst_row,), part.shape[-1])[:] = part
            parts = [p.view(np.uint32).reshape(-1, 16) for p in parts]
        program.steps.append(Step(inst, word, parts, core.mem.copy(), core.vb.view(np.uint32).copy()))
    return program


@pytest.mark.parametrize("channels", [1, 2, 4, 8, 16, pytest.param(32, marks=pytest.mark.slow)])
def test_store_unit(channels):
    """32 channels, two groups of 16, take minutes to compile."""
    programs = [random_program(channels, seed, 12) for seed in range(4)]
    run_bench("store_unit", __file__, ["memory", "common"], {"Channels": channels}, payload=programs, timeout_s=300)


IDLE = dict.fromkeys(
    ["op_valid_i", "op_i", "take_ready_i", "rd_ready_i", "rd_rvalid_i", "vb_wr_ready_i", "ab_ready_i", "ab_rvalid_i",
     "wr_ready_i", "wr_busy_i", "x_turn_i", "x_out_ready_i", "x_in_valid_i", "x_in_core_i", "x_in_accept_i", "x_end_i"], 0
)  # fmt: skip


@cocotb.test()
async def programs(dut):
    await start(dut, **IDLE)
    for n, program in enumerate(payload()):
        await Bench(dut, program, ("none", "half", "bursts", "often")[n % 4], n).run()


class Writers:
    """The channels' axi_writers: a word is in memory some cycles after it was taken, and until then the channel is busy."""

    def __init__(self, channels: int, mem: np.ndarray, kind: str, seed: int) -> None:
        self.mem = mem
        self.pauses = [pauses(kind, f"{seed}w{c}") for c in range(channels)]
        self.late: list[deque] = [deque() for _ in range(channels)]
        self.rng = random.Random(seed)

    def step(self, cycle: int) -> tuple[int, int]:
        """(ready, busy) of this cycle."""
        for c, queue in enumerate(self.late):
            while queue and queue[0][0] <= cycle:
                _, at, data, strobes = queue.popleft()
                for b in range(64):
                    if strobes >> b & 1:
                        self.mem[c, at + b] = data[b]
        ready = sum((not next(p)) << c for c, p in enumerate(self.pauses))
        return ready, sum(bool(q) << c for c, q in enumerate(self.late))

    def take(self, c: int, at: int, data: bytes, strobes: int, cycle: int) -> None:
        assert at % 64 == 0
        earliest = self.late[c][-1][0] if self.late[c] else 0
        self.late[c].append((max(earliest, cycle + self.rng.randint(1, 25)), at, data, strobes))


class Bench:
    def __init__(self, dut, program: Program, kind: str, seed: int) -> None:
        self.dut, self.program, self.kind, self.seed = dut, program, kind, seed
        self.channels = parameter("Channels")
        self.mem, self.vb = program.mem.copy(), program.vb.copy()
        self.writers = Writers(self.channels, self.mem, kind, seed)
        names = ("op", "take", "rd", "vb_wr", "ab", "others")
        self.pause = {name: pauses(kind, f"{seed}{name}") for name in names}
        self.ab = program.ab.view(np.uint8)
        self.sending: int | None = None  # XCHG: whose part goes round
        self.sent = 0
        self.meet = 0  # cycles until all cores stand at the XCHG

    def exchange(self, step: Step) -> dict[str, int]:
        """Signals of the exchange, given what the unit shows in this cycle."""
        dut, rng = self.dut, self.writers.rng
        quiet = dict.fromkeys(
            ["x_turn_i", "x_out_ready_i", "x_in_valid_i", "x_in_core_i", "x_in_accept_i", "x_end_i"], 0
        )
        if step.parts is None or not int(dut.x_want_o.value):
            assert not int(dut.x_out_valid_o.value)
            self.sending, self.sent, self.meet = None, 0, rng.randint(0, 9)
            return quiet
        words = len(step.parts[0])
        assert int(dut.x_words_o.value) == words
        if self.meet:
            self.meet -= 1
            return quiet
        if self.sending is None:
            self.sending = 0
        if self.sending == CORES:
            return quiet | {"x_end_i": 1}
        if self.sent == words:
            self.sending, self.sent = self.sending + 1, 0
            return quiet
        mine = self.sending == self.program.core
        valid = bool(int(dut.x_out_valid_o.value)) if mine else not next(self.pause["others"])
        word = int.from_bytes(step.parts[self.sending][self.sent].tobytes(), "little")
        if mine and valid:
            assert int(dut.x_out_data_o.value) == word, f"word {self.sent} of this core's part"
        moves = valid and int(dut.x_in_ready_o.value) and not next(self.pause["others"])
        dut.x_in_data_i.value = word
        out = {"x_turn_i": mine, "x_in_valid_i": valid, "x_in_core_i": self.sending, "x_in_accept_i": moves}
        self.sent += moves
        return quiet | out | {"x_out_ready_i": mine and moves}

    async def run(self, limit: int = 40000) -> None:
        dut, steps = self.dut, self.program.steps
        sent = taken = given = 0
        vb_pipe: deque = deque([None, None])
        ab_pipe: deque = deque([None])
        for cycle in range(limit):
            offer = sent < len(steps) and not next(self.pause["op"])
            dut.op_valid_i.value = int(offer)
            if offer:
                dut.op_i.value = steps[sent].word
            free = {name: int(not next(self.pause[name])) for name in ("take", "rd", "vb_wr", "ab")}
            dut.take_ready_i.value, dut.rd_ready_i.value = free["take"], free["rd"]
            dut.vb_wr_ready_i.value, dut.ab_ready_i.value = free["vb_wr"], free["ab"]
            ready, busy = self.writers.step(cycle)
            dut.wr_ready_i.value, dut.wr_busy_i.value = ready, busy
            await FallingEdge(dut.clk_i)
            if given < len(steps):
                for name, value in self.exchange(steps[given]).items():
                    getattr(dut, name).value = int(value)
            await RisingEdge(dut.clk_i)
            self.read(vb_pipe, ab_pipe, free)
            if int(dut.vb_wr_valid_o.value) and free["vb_wr"]:
                at = 16 * int(dut.vb_wr_addr_o.value)
                self.vb[at : at + 16] = np.frombuffer(int(dut.vb_wr_data_o.value).to_bytes(64, "little"), np.uint32)
            written = int(dut.wr_valid_o.value) & ready
            if written:
                at, strobes = int(dut.wr_addr_o.value), int(dut.wr_strb_o.value)
                data = int(dut.wr_data_o.value).to_bytes(64 * self.channels, "little")
                for c in range(self.channels):
                    if written >> c & 1:
                        self.writers.take(c, at, data[64 * c : 64 * c + 64], strobes, cycle)
            if int(dut.give_valid_o.value):
                self.compare(given, steps[given])
                given += 1
            sent += offer and int(dut.op_ready_o.value)
            if int(dut.take_valid_o.value):
                assert int(dut.take_mask_o.value) == steps[taken].inst.wait
                taken += free["take"]
            assert given <= taken <= sent
            if given == len(steps) and cycle % 4 == 0:
                break
        else:
            raise AssertionError(f"program {self.seed} ({self.kind}) stuck: {steps[given].inst.text()}")
        dut.op_valid_i.value = 0
        for _ in range(3):
            await RisingEdge(dut.clk_i)
        assert int(dut.idle_o.value)

    def read(self, vb_pipe: deque, ab_pipe: deque, free: dict[str, int]) -> None:
        """VB answers three cycles after the grant, AB two."""
        dut = self.dut
        asked = None
        if int(dut.rd_valid_o.value) and free["rd"]:
            at = 16 * int(dut.rd_addr_o.value)
            asked = int.from_bytes(self.vb[at : at + 16].tobytes(), "little")
        vb_pipe.append(asked)
        answer = vb_pipe.popleft()
        dut.rd_rvalid_i.value = int(answer is not None)
        dut.rd_rdata_i.value = answer if answer is not None else 0
        window = None
        if int(dut.ab_valid_o.value) and free["ab"]:
            window = int.from_bytes(self.ab[int(dut.ab_addr_o.value)].tobytes(), "little")
        ab_pipe.append(window)
        answer = ab_pipe.popleft()
        dut.ab_rvalid_i.value = int(answer is not None)
        dut.ab_data_i.value = answer if answer is not None else 0

    def compare(self, number: int, step: Step) -> None:
        where = f"program {self.seed}, instruction {number}: {step.inst.text()}"
        assert int(self.dut.give_mask_o.value) == step.inst.signal, where
        bad = np.argwhere(self.mem != step.mem)
        assert not len(bad), f"{where}: {len(bad)} bytes differ, first (channel, byte) {bad[:6].tolist()}"
        wrong = np.flatnonzero(self.vb != step.vb)
        assert not wrong.size, f"{where}: VB differs at {wrong[:8]}"
