"""flightllm_top from the host's side: register file, start, done and continue, interrupt, every error, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from packages import small_arch

from flightllm.config.arch import ArchConfig
from flightllm.isa import encode_program
from flightllm.isa.control import ALU, HALT, LOOP
from flightllm.isa.fields import Instruction
from flightllm.isa.load import LDG, LDV, LDW
from flightllm.isa.store import STV
from flightllm.kernel import control_map as cm
from flightllm.kernel.status import state_dump
from flightllm.sim.simulator import SimOptions, Simulator, Stop, build_kernel

#: one that other tests build as well
ARCH = small_arch(vpus=8)
SIZE, PROGRAM, SOURCE, TARGET, BAD = 1 << 16, 0, 0x4000, 0x8000, 0xC000
SLOTS = 32
LIMIT = 50_000
#: cycles for what is in flight to come back
SETTLE = 3000
ADDRESS = cm.ADDRESS


def load(**more: int | str) -> LDV:
    return LDV(**{"dtype": "f32", "addr": SOURCE, "slots": SLOTS, "rows": 1, "dst": 0, "dst_row": 0, "row": 0} | more)


def store(**more: int) -> STV:
    return STV(**{"src": 0, "src_row": 0, "rows": 1, "slots": SLOTS, "addr": TARGET, "row": 0} | more)


#: masks of tokens
L, M, S, T = (1 << i for i in range(4))
#: copies SOURCE to TARGET over VB
COPY = [load(signal=T), store(wait=L), HALT()]


library = cache(build_kernel)


class Host:
    """What a driver does, on a simulated kernel."""

    def __init__(self, arch: ArchConfig = ARCH, options: SimOptions | None = None) -> None:
        self.sim = Simulator(arch, SIZE, options, library(arch))
        self.sim.reset()
        self.memory = self.sim.memory
        rng = np.random.default_rng(0)
        self.memory[:, SOURCE : SOURCE + 4 * SLOTS] = rng.integers(0, 64, (len(self.memory), 4 * SLOTS), np.uint8)
        for port, base in enumerate(self.sim.bases):
            self.sim.write64(cm.base_address(port), int(base))
        for name, value in {"GIE": 1, "IER": 1, "POS": 0, "NTOK": 1, "NLOG": 0, "MASKEN": 0, "WATCHDOG": 5000}.items():
            self.write(name, value)

    def write(self, name: str, value: int) -> None:
        self.sim.write(ADDRESS[name], value)

    def read(self, name: str) -> int:
        return self.sim.read(ADDRESS[name])

    def program(self, code: list[Instruction] | bytes, length: int | None = None) -> None:
        raw = code if isinstance(code, bytes) else encode_program(code)
        arch = self.sim.arch
        for core in range(arch.cores):
            self.memory[core * arch.channels, PROGRAM : PROGRAM + len(raw)] = np.frombuffer(raw, np.uint8)
        self.sim.write64(ADDRESS["PROGRAM"], PROGRAM)
        self.write("INSTRUCTIONS", len(raw) // 64 if length is None else length)

    def run(self) -> int:
        """Start and wait for the interrupt; the error register."""
        self.write("AP_CTRL", cm.START)
        assert self.sim.run(LIMIT) is Stop.INTERRUPT, self.sim.message
        self.write("ISR", 1)
        return self.read("ERROR")

    def proceed(self) -> None:
        self.write("AP_CTRL", cm.CONTINUE)

    def soft_reset(self) -> None:
        """The way out of an error, as docs/registers.md has it."""
        self.write("SOFT_RESET", 1)
        assert self.sim.run(SETTLE) is Stop.LIMIT, self.sim.message
        self.write("SOFT_RESET", 0)

    def copies(self) -> None:
        """A run of COPY works."""
        self.memory[:, TARGET : TARGET + 4 * SLOTS] = 0xFF
        self.program(COPY)
        assert self.run() == 0
        assert np.array_equal(*(self.memory[:, a : a + 4 * SLOTS] for a in (SOURCE, TARGET)))
        self.proceed()


@pytest.fixture(scope="module")
def shared() -> Iterator[Host]:
    host = Host()
    yield host
    host.sim.close()


@pytest.fixture
def host(shared) -> Host:
    """Between runs, without a trace of the last."""
    shared.sim.reset()
    fresh = shared
    for port, base in enumerate(fresh.sim.bases):
        fresh.sim.write64(cm.base_address(port), int(base))
    for name, value in {"GIE": 1, "IER": 1, "POS": 0, "NTOK": 1, "NLOG": 0, "MASKEN": 0, "WATCHDOG": 5000}.items():
        fresh.write(name, value)
    return fresh


def test_start_done_continue(host):
    """AP_CTRL through two runs: start is held back until continue."""
    host.program(COPY)
    assert host.read("AP_CTRL") == 4, "idle"
    host.write("AP_CTRL", cm.START)
    assert host.read("AP_CTRL") & 7 == 1, "started, neither done nor idle"
    assert host.sim.run(LIMIT) is Stop.INTERRUPT
    assert host.read("AP_CTRL") == 0b1010, "done and ready, start is low again"
    cycles = host.sim.read64(ADDRESS["CYCLES"])
    assert 100 < cycles < 5000
    host.write("ISR", 1)
    host.memory[:, TARGET : TARGET + 4 * SLOTS] = 0xFF
    host.write("AP_CTRL", cm.START)
    assert host.sim.run(3000) is Stop.LIMIT
    assert host.read("AP_CTRL") & 3 == 3 and host.sim.read64(ADDRESS["CYCLES"]) == cycles, "start waits for continue"
    assert (host.memory[:, TARGET : TARGET + 4 * SLOTS] == 0xFF).all()
    host.proceed()
    assert host.sim.run(LIMIT) is Stop.INTERRUPT
    assert np.array_equal(*(host.memory[:, a : a + 4 * SLOTS] for a in (SOURCE, TARGET)))
    assert host.sim.read64(ADDRESS["CYCLES"]) < 1500, "counted from the start of the run, not from the write"
    host.write("ISR", 1)
    host.proceed()
    assert host.read("AP_CTRL") == 4


def test_interrupt(host):
    """GIE gates the line, IER what is kept, a 1 written to ISR toggles."""
    host.program(COPY)
    host.write("GIE", 0)
    host.write("AP_CTRL", cm.START)
    assert host.sim.run(LIMIT // 10) is Stop.LIMIT and host.read("AP_CTRL") & 2, "done without an interrupt"
    assert host.read("ISR") == 1
    host.write("GIE", 1)
    assert host.sim.run(3) is Stop.INTERRUPT, "it was kept"
    host.write("ISR", 1)
    assert host.read("ISR") == 0 and host.sim.run(10) is Stop.LIMIT
    host.proceed()
    for enabled in (0, 2, 3):
        host.write("IER", enabled)
        host.write("AP_CTRL", cm.START)
        assert (host.sim.run(LIMIT // 10) is Stop.INTERRUPT) == bool(enabled)
        assert host.read("ISR") == enabled and host.read("AP_CTRL") & 2
        host.write("ISR", enabled)
        host.proceed()
    host.write("ISR", 2)
    assert host.read("ISR") == 2, "toggled without a run"


def test_counters_and_state_of_a_run(host):
    """Cleared by start; bytes as the program moves them; PC at the HALT."""
    for _ in range(2):
        host.copies()
        read, written = (host.sim.read64(cm.traffic(1, written=w)) for w in (False, True))
        assert (read, written) == (4 * SLOTS, 4 * SLOTS)
        assert host.sim.read64(cm.traffic(0, written=False)) >= 4 * SLOTS + 64 * len(COPY), "and the program"
        for unit, busy in zip(cm.UNITS, (1, 0, 0, 1, 0, 1), strict=True):
            assert (host.sim.read64(cm.counter(0, unit, "busy")) > 0) == bool(busy), unit
        assert host.sim.read64(cm.counter(0, "T", "token")) > 0, "T waited for L"
        assert host.sim.read(cm.core_register(0, "PC")) == len(COPY) - 1


@dataclass(frozen=True)
class Failure:
    """A program that ends in an error, and what the dump must say of it."""

    code: int
    program: list[Instruction] | bytes
    dump: tuple[str, ...] = ()
    length: int | None = None
    before: Callable[[Host], None] = lambda host: None


def bad_id(host: Host) -> None:
    host.memory[0, BAD : BAD + 4] = np.array([-1], "<i4").view(np.uint8)


WORDS = ARCH.vb_elements // 16
FAILURES = {
    "opcode": Failure(1, b"\x3f" + bytes(63), ("pc 0",)),
    "unused bits": Failure(1, encode_program([HALT()])[:-1] + b"\x80", ("pc 0",)),
    "end of the program": Failure(1, COPY, ("pc 1",), length=1),
    "loop without a body": Failure(1, [LOOP(rd=9, count=2, body=0), HALT()], ("pc 0",)),
    "body behind the enclosing one": Failure(
        1, [LOOP(rd=9, count=2, body=1), LOOP(rd=10, count=2, body=3), *[ALU(op="add", rd=11, imm=1)] * 3, HALT()], ("pc 1",)
    ),
    "loops too deep": Failure(
        1, [*[LOOP(rd=9 + i, count=2, body=8 - i) for i in range(5)], *[ALU(op="add", rd=20, imm=1)] * 6, HALT()], ("pc 4",)
    ),
    "read error": Failure(2, [load(addr=BAD), HALT()], before=lambda h: h.sim.inject(2, BAD, write=False)),
    "fetch error": Failure(2, COPY, before=lambda h: h.sim.inject(0, PROGRAM + 64, write=False)),
    "weights error": Failure(2, [LDW(addr=BAD + 0x400, nbytes=64), load(rows=64), HALT()], before=lambda h: h.sim.inject(3, BAD + 0x400, write=False, response=3)),
    "write error": Failure(3, [load(signal=T), store(wait=L, addr=BAD), HALT()], before=lambda h: h.sim.inject(1, BAD, write=True)),
    "token id": Failure(
        4, [LDG(dtype="f32", ids=BAD, table=SOURCE, row=64, limit=8, slots=8, rows=1, dst=0, dst_row=0), HALT()], before=bad_id
    ),
    "a token that nobody gives": Failure(5, [load(signal=T), store(wait=L | M), HALT()], ("T waits for token", "L->T 1", "pc 2")),
    "HALT with a token": Failure(6, [load(signal=T), HALT()], ("L->T 1", "pc 1")),
    "HALT with weights": Failure(6, [LDW(addr=SOURCE, nbytes=128), HALT()], ("W 128 bytes",)),
    "HALT in a loop": Failure(6, [LOOP(rd=9, count=2, body=1), HALT()], ("pc 1",)),
    "write behind VB": Failure(7, [load(dst=WORDS - 1), HALT()]),
    "read behind VB": Failure(7, [store(src=WORDS), HALT()]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_errors(name):
    """Each ends in its code with an interrupt and a dump; behind a soft reset the next run works."""
    case = FAILURES[name]
    host = Host()
    try:
        case.before(host)
        host.program(case.program, case.length)
        error = host.run()
        assert error == case.code, f"error {error & 15}, core {error >> 8}"
        assert host.read("AP_CTRL") & 2
        dump = "\n".join(state_dump(host.sim, ARCH))
        assert all(text in dump for text in case.dump), dump
        host.soft_reset()
        host.proceed()
        if name != "fetch error":  # the program's place answers with errors
            host.copies()
        assert host.read("BUILD") == ARCH.cores | ARCH.channels << 8 | ARCH.vpus << 16 | ARCH.lanes << 24
    finally:
        host.sim.close()


@pytest.mark.parametrize("after", [1, 37, 150, 333])
def test_soft_reset_in_mid_flight(after):
    """Held long enough, a reset at any time leaves the AXI rules unbroken and a kernel that works, memory slow or not."""
    options = SimOptions(jitter_ns=200.0, stall=0.3, seed=after)
    host = Host(options=options)
    try:
        rows = [load(rows=8, dst_row=0, signal=T), store(rows=8, wait=L)] * 6
        host.program([*rows, HALT()])
        host.write("AP_CTRL", cm.START)
        assert host.sim.run(after) is Stop.LIMIT
        host.soft_reset()
        host.write("WATCHDOG", 200)  # the run that was cut off ends by it
        assert host.sim.run(LIMIT) is Stop.INTERRUPT, host.sim.message
        assert host.read("ERROR") & 15 == 5
        host.write("ISR", 1)
        host.proceed()
        host.write("WATCHDOG", 0)
        host.copies()
    finally:
        host.sim.close()


def test_arguments_reach_the_program(host):
    """POS, NTOK, NLOG, MASKEN as R1, R2, R5, R6: each in the address of a store."""
    for name, value, reg in (("POS", 2, 1), ("NTOK", 3, 2), ("NLOG", 1, 5), ("MASKEN", 1, 6)):
        host.write(name, value)
        host.memory[:, TARGET : TARGET + 0x400] = 0xFF
        host.program([load(signal=T), store(addr=TARGET, addr_r=reg, addr_s=0x100, wait=L), HALT()])
        assert host.run() == 0
        host.proceed()
        written = (host.memory != 0xFF).any(axis=0)
        at = TARGET + value * 0x100
        assert written[at] and not written[TARGET:at].any(), name


def test_the_core_that_reports_an_error():
    """Two cores: the second has an illegal instruction, the first waits at its HALT."""
    arch = small_arch(2, 2, 4)
    host = Host(arch)
    try:
        host.program([HALT()])
        host.memory[arch.channels, PROGRAM] = 0x3F
        assert host.run() == 1 | 1 << 8
        host.soft_reset()
        host.proceed()
        host.copies()
    finally:
        host.sim.close()
