"""axil_control under cocotbext-axi's AXI4-Lite master: every register of flightllm.kernel.control_map, strobes, the ap_ctrl_chain
handshake, interrupts, errors, back-pressure on every channel."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout
from cocotb_runner import parameter, pauses, run_bench, start

from flightllm.kernel import control_map as cm

WRAPPER = Path(__file__).parent / "axil_control_tb.sv"
A = cm.ADDRESS
DIGEST = 0x0123_4567_89AB_CDEF
START, DONE, IDLE, READY, CONTINUE = cm.START, cm.DONE, cm.IDLE, cm.READY, cm.CONTINUE


@pytest.mark.parametrize(("cores", "channels"), [(2, 2), (1, 4)])
def test_axil_control(cores, channels):
    parameters = {"Cores": cores, "Channels": channels, "Vpus": 12, "Lanes": 8}
    run_bench("axil_control_tb", __file__, ["control"], parameters, extra=[WRAPPER])


class Host:
    """32-bit accesses, each with a time-out."""

    def __init__(self, dut) -> None:
        from cocotbext.axi import AxiLiteBus, AxiLiteMaster

        self.dut = dut
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk_i, dut.rst_ni, False)
        self.starts = self.interrupts = 0

    async def begin(self, **inputs: int) -> None:
        await start(
            self.dut, done_i=0, error_i=0, error_core_i=0, status_i=0, read_bytes_i=0, written_bytes_i=0, **inputs
        )
        await self.wait(2)
        cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        while True:
            await RisingEdge(self.dut.clk_i)
            self.starts += int(self.dut.start_o.value)

    def slow(self, kind: str, seed: int) -> None:
        write, read = self.master.write_if, self.master.read_if
        for i, channel in enumerate(
            (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        ):
            channel.set_pause_generator(pauses(kind, seed + i))

    async def wait(self, cycles: int) -> None:
        for _ in range(cycles):
            await RisingEdge(self.dut.clk_i)

    async def write(self, address: int, value: int, strobes: tuple[int, int] = (0, 4)) -> None:
        data = value.to_bytes(4, "little")[strobes[0] : strobes[1]]
        done = await with_timeout(self.master.write(address + strobes[0], data), 3, "us")
        assert int(done.resp) == 0

    async def read(self, address: int) -> int:
        done = await with_timeout(self.master.read(address, 4), 3, "us")
        assert int(done.resp) == 0
        return int.from_bytes(done.data, "little")

    async def end(self, error: int = 0, core: int = 0) -> None:
        """The cores end."""
        self.dut.done_i.value, self.dut.error_i.value, self.dut.error_core_i.value = int(not error), error, core
        await RisingEdge(self.dut.clk_i)
        self.dut.done_i.value = self.dut.error_i.value = 0
        await self.wait(2)


def words(name: str) -> list[int]:
    r = next(r for r in cm.REGISTERS if r.name == name)
    return [r.address + 4 * i for i in range(r.bits // 32)]


@cocotb.test()
@cocotb.parametrize(kind=["none", "half", "bursts"])
async def arguments(dut, kind):
    """What is written is read back and stands at the outputs; single bytes change nothing else."""
    host = Host(dut)
    await host.begin()
    host.slow(kind, 1)
    ports = parameter("Cores") * parameter("Channels")
    assert await host.read(A["WATCHDOG"]) == next(r.reset for r in cm.REGISTERS if r.name == "WATCHDOG")
    addresses = [w for n in ("POS", "NTOK", "NLOG", "MASKEN", "PROGRAM", "INSTRUCTIONS", "WATCHDOG") for w in words(n)]
    addresses += [cm.base_address(p) + 4 * h for p in range(ports) for h in range(2)]
    model = {}
    for address in addresses:
        model[address] = random.getrandbits(32)
        await host.write(address, model[address])
    for address in random.sample(addresses, len(addresses)):
        lo = random.randrange(4)
        hi = random.randint(lo + 1, 4)
        new = random.getrandbits(32)
        mask = sum(0xFF << 8 * i for i in range(lo, hi))
        model[address] = model[address] & ~mask | new & mask
        await host.write(address, new, (lo, hi))
    for address in random.sample(addresses, len(addresses)):
        assert await host.read(address) == model[address], f"{address:#x}"
    unmapped = (A["NTOK"] - 4, A["INSTRUCTIONS"] + 4, cm.base_address(0) + 8, cm.base_address(ports), 0x7FC, 0xFFFC)
    constant = {A["BUILD"]: build_word(), A["DIGEST"]: DIGEST & 0xFFFFFFFF, A["DIGEST"] + 4: DIGEST >> 32}
    for address in (*unmapped, *constant, A["FLAVOUR"], A["ERROR"], A["CYCLES"]):
        before = await host.read(address)
        await host.write(address, 0xFFFFFFFF)
        assert await host.read(address) == before == constant.get(address, 0), f"{address:#x}"
    outputs = {
        "POS": "pos_o", "NTOK": "ntok_o", "NLOG": "nlog_o", "MASKEN": "masken_o", "INSTRUCTIONS": "program_len_o",
        "WATCHDOG": "watchdog_o",
    }  # fmt: skip
    for name, port in outputs.items():
        assert int(getattr(dut, port).value) == model[A[name]], name
    low, high = (model[w] for w in words("PROGRAM"))
    assert int(dut.program_addr_o.value) == (high << 32 | low) & ((1 << 40) - 1)
    bases = int(dut.base_o.value)
    for p in range(ports):
        at = cm.base_address(p)
        assert bases >> 64 * p & ((1 << 64) - 1) == model[at + 4] << 32 | model[at], f"base {p}"


def build_word() -> int:
    values = [parameter(n) for n in ("Cores", "Channels", "Vpus", "Lanes")]
    return sum(v << 8 * i for i, v in enumerate(values))


@cocotb.test()
async def state_and_counters(dut):
    """Every word that the cores report, at its address."""
    host = Host(dut)
    await host.begin()
    cores, ports = parameter("Cores"), parameter("Cores") * parameter("Channels")
    # core_status_t from its last field (low bits) up
    layout = [("PC", 32), ("STATE", 24), ("W_LEVEL", 32), ("K_LEVEL", 32)]
    layout += [(f"TOKENS_{u}", 32) for u in cm.UNITS[:4]]
    layout += [((u, e), 64) for u in cm.UNITS for e in cm.EVENTS]
    status, at, want = 0, 0, {}
    for k in range(cores):
        for name, bits in layout:
            value = random.getrandbits(bits)
            status |= value << at
            at += bits
            if isinstance(name, tuple):
                want[cm.counter(k, *name)], want[cm.counter(k, *name) + 4] = value & 0xFFFFFFFF, value >> 32
            else:
                want[cm.core_register(k, name)] = value
    dut.status_i.value = status
    moved = {False: 0, True: 0}
    for p in range(ports):
        for written in moved:
            value = random.getrandbits(64)
            moved[written] |= value << 64 * p
            want[cm.traffic(p, written)], want[cm.traffic(p, written) + 4] = value & 0xFFFFFFFF, value >> 32
    dut.read_bytes_i.value, dut.written_bytes_i.value = moved[False], moved[True]
    for address in random.sample(sorted(want), len(want)):
        assert await host.read(address) == want[address], f"{address:#x}"
    for address in (cm.core_register(cores, "PC"), cm.CORE + 0x20, cm.CORE + 0x3C, cm.traffic(ports, False)):
        assert await host.read(address) == 0, f"{address:#x}"


@cocotb.test()
async def runs(dut):
    """start, running, done, continue; a start before continue waits for it; cycles and errors of the last run."""
    host = Host(dut)
    await host.begin()
    assert await host.read(A["AP_CTRL"]) == IDLE
    await host.write(A["AP_CTRL"], START)
    await host.wait(3)
    assert host.starts == 1 and int(dut.running_o.value)
    assert await host.read(A["AP_CTRL"]) == START
    await host.wait(25)
    await host.end()
    assert not int(dut.running_o.value)
    assert await host.read(A["AP_CTRL"]) == DONE | READY
    cycles = await host.read(A["CYCLES"])
    await host.wait(10)
    assert await host.read(A["CYCLES"]) == cycles >= 25 and await host.read(A["ERROR"]) == 0
    await host.write(A["AP_CTRL"], START)  # held back
    await host.wait(5)
    assert host.starts == 1 and await host.read(A["AP_CTRL"]) == START | DONE | READY
    await host.write(A["AP_CTRL"], CONTINUE)
    await host.wait(3)
    assert host.starts == 2 and int(dut.running_o.value)
    assert await host.read(A["CYCLES"]) < cycles
    core = parameter("Cores") - 1
    await host.end(error=5, core=core)
    assert await host.read(A["ERROR"]) == core << 8 | 5 and not int(dut.running_o.value)
    await host.end(error=3)  # nothing runs: not this run's
    assert await host.read(A["ERROR"]) == core << 8 | 5
    await host.write(A["AP_CTRL"], CONTINUE)
    assert await host.read(A["AP_CTRL"]) == IDLE
    await host.write(A["SOFT_RESET"], 1)
    await host.write(A["AP_CTRL"], START)
    await host.wait(4)
    assert int(dut.soft_reset_o.value) and host.starts == 2
    await host.write(A["SOFT_RESET"], 0)
    await host.wait(4)
    assert host.starts == 3 and await host.read(A["ERROR"]) == 0
    await host.end()


@cocotb.test()
@cocotb.parametrize(lag=[0, 1, 2, 7])
async def exact_cycles(dut, lag):
    """CYCLES is the number of cycles of running_o."""
    host = Host(dut)
    await host.begin()
    await host.write(A["AP_CTRL"], START)
    running = 0
    for i in count():
        await FallingEdge(dut.clk_i)
        running += int(dut.running_o.value)
        dut.done_i.value = int(i == 10 + lag)
        if i == 12 + lag:
            break
    assert await host.read(A["CYCLES"]) == running > 0


@cocotb.test()
async def interrupts(dut):
    """Only what is enabled is recorded, writing 1 toggles, GIE gates the pin."""
    host = Host(dut)
    await host.begin()
    for ier in (0, 1, 2, 3):
        await host.write(A["IER"], ier)
        await host.write(A["GIE"], 1)
        await host.write(A["AP_CTRL"], START)
        await host.wait(4)
        assert not int(dut.interrupt_o.value)
        await host.end(error=ier)  # by an error as well
        assert int(dut.interrupt_o.value) == (ier != 0) and await host.read(A["ISR"]) == ier
        await host.write(A["GIE"], 0)
        await host.wait(2)
        assert not int(dut.interrupt_o.value)
        await host.write(A["GIE"], 1)
        await host.write(A["ISR"], ier)
        await host.wait(2)
        assert not int(dut.interrupt_o.value) and await host.read(A["ISR"]) == 0
        await host.write(A["AP_CTRL"], CONTINUE)
    await host.write(A["ISR"], 2)
    assert await host.read(A["ISR"]) == 2 and await host.read(A["IER"]) == 3 and await host.read(A["GIE"]) == 1
