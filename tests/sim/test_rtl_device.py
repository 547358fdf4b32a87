"""Harness, simulator and device, with a small kernel in place of the real one."""

import shutil

import numpy as np
import pytest
from kernels import (
    CHUNK,
    COPY,
    ERROR,
    FAIL,
    LOGITS,
    NOTHING,
    PROGRAM,
    WRONG_ADDRESS,
    arch_of,
    expected_logits,
    package,
    standin,
)

from flightllm.errors import ConfigError, PackageError, ProgramError, ToolError
from flightllm.executors.rtl import RtlDevice
from flightllm.kernel import control_map as cm
from flightllm.runtime.device import Device
from flightllm.sim.events import Kind
from flightllm.sim.hbm import HbmTiming
from flightllm.sim.simulator import SimOptions, Simulator, Stop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("g++") is None or shutil.which("perl") is None, reason="Verilator needs g++ and perl"
    ),
]
WIDE, NARROW = arch_of(), arch_of(cores=2, channels=2, port_bits=128)
IDS = [5, 9, 19, 17, 2, 8, 3, 1, 4, 6, 31, 30, 29, 28, 27, 26]
LOUD = SimOptions(jitter_ns=300, stall=0.3, seed=3)


@pytest.fixture(scope="module", params=[WIDE, NARROW], ids=["1x2x512", "2x2x128"])
def arch(request):
    return request.param


@pytest.fixture(scope="module")
def library(arch):
    return standin(arch)


def device_of(path, arch, library, do=COPY, options=None, image=None, **more):
    device = RtlDevice(options, library=library, **more)
    device.load(package(path / "p.flpkg", arch, do, image))
    return device


@pytest.mark.parametrize("options", [None, SimOptions(HbmTiming.ideal()), LOUD], ids=["hbm", "ideal", "loud"])
def test_chunks_come_back(tmp_path, arch, library, options):
    device = device_of(tmp_path, arch, library, options=options)
    assert isinstance(device, Device)
    for ids, pos, nlog, masken in (
        (IDS, 0, CHUNK, True),
        (IDS[:5], 700, 2, False),
        (IDS[3:4], 9, 1, True),
        (IDS, 1, 0, True),
    ):
        # as they are bits, not numbers, compare them as such
        ids = [i % device.package.manifest.model.vocab for i in ids]
        logits = device.run_chunk(ids, pos, nlog, masken)
        assert np.array_equal(logits.view(np.uint32), expected_logits(arch, ids, pos, nlog, masken))
    assert device.counters()["chunks"] == 4
    assert device.counters()["tokens"] == 2 * CHUNK + 6


def test_counters_count(tmp_path, arch, library):
    device = device_of(tmp_path, arch, library)
    device.run_chunk(IDS[:3], 0, 3, False)
    first = device.last
    for k in range(arch.cores):
        for c in range(arch.channels):
            assert first[f"core{k}.ch{c}.read_bytes"] == (128 if c == 0 else 0)  # program and ids
            assert first[f"core{k}.ch{c}.written_bytes"] == 3 * 64
        assert first[f"core{k}.Q.busy"] == first["cycles"]
        assert first[f"core{k}.T.busy"] == first[f"core{k}.T.token"] + 4  # three tokens and the end
        assert first[f"core{k}.M.busy"] == 0
    hbm = first["cycles"] * 1000 / arch.clock_mhz
    assert 2 * 107 + 3 * 60 < hbm < 2000, "two reads and three writes, one after another"
    device.run_chunk(IDS[:3], 0, 3, False)
    assert device.last["cycles"] == pytest.approx(first["cycles"], abs=80 * arch.cores), (
        "cleared at start; a refresh may fall into it, of each core's memory"
    )
    assert device.counters()["cycles"] == first["cycles"] + device.last["cycles"]
    seen = device.sim.port_counts(0)
    assert seen["read_bytes"] == 256
    assert seen["written_bytes"] == 6 * 64
    assert seen["row_hits"] + seen["rows_opened"] + seen["row_misses"] == (256 + 384) // 32


def test_images_lie_where_they_belong(tmp_path, arch, library):
    image = np.random.default_rng(1).integers(0, 256, (arch.cores * arch.channels, 512), np.uint8)
    device = device_of(tmp_path, arch, library, image=image)
    assert np.array_equal(device.sim.memory[:, :512], image)
    code = np.frombuffer(bytes(device.package.program), np.uint8)
    for port in range(arch.cores * arch.channels):
        there = device.sim.memory[port, PROGRAM : PROGRAM + 64]
        assert np.array_equal(there, code if port % arch.channels == 0 else np.zeros(64, np.uint8))


def test_error_of_the_kernel_has_a_dump(tmp_path, arch, library):
    device = device_of(tmp_path, arch, library, do=ERROR)
    with pytest.raises(ProgramError) as e:
        device.run_chunk(IDS[:1], 0, 1, False)
    text = str(e.value)
    assert f"error 1 (illegal instruction) in core {arch.cores - 1}" in text
    assert "core 0: pc" in text
    assert "L->L 1, L->M 2, L->S 3, L->T 4" in text
    assert f"W {8 * (1000 + arch.cores - 1)} bytes, K 56 bytes" in text
    with pytest.raises(ProgramError, match="error 1"):  # and the device still works
        device.run_chunk(IDS[:1], 0, 1, False)
    device.sim.memory[:: arch.channels, PROGRAM + 12] = COPY
    assert device.run_chunk(IDS[:1], 0, 1, False).shape == (1, device.package.manifest.model.vocab)


def test_watchdog_and_limit(tmp_path, arch, library, monkeypatch):
    device = device_of(tmp_path, arch, library, do=NOTHING, watchdog=500)
    with pytest.raises(ProgramError, match=r"error 5 \(watchdog(.|\n)*T waits for token"):
        device.run_chunk(IDS[:1], 0, 1, False)
    device = device_of(tmp_path, arch, library, do=NOTHING, limit=2000)
    with pytest.raises(ProgramError, match="did not end within 2,000 cycles"):
        device.run_chunk(IDS[:1], 0, 1, False)
    monkeypatch.setattr("flightllm.executors.rtl.device.QUIET", 1000)
    with pytest.raises(ProgramError, match="stands still"):
        device.run_chunk(IDS[:1], 0, 1, False)


def test_breach_of_axi_and_assertion(tmp_path, arch, library, capfd):
    device = device_of(tmp_path, arch, library, do=WRONG_ADDRESS)
    with pytest.raises(ProgramError, match=r"broke the AXI protocol: channel number 0, cycle \d+: write .* outside"):
        device.run_chunk(IDS[:1], 0, 1, False)
    device = device_of(tmp_path, arch, library, do=FAIL)
    with pytest.raises(ProgramError, match="assertion in the design failed"):
        device.run_chunk(IDS[:1], 0, 1, False)
    assert "told to fail" in capfd.readouterr().out


@pytest.mark.parametrize(("write", "address", "code"), [(False, PROGRAM, 2), (True, LOGITS + 63, 3)])
def test_axi_errors_reach_the_host(tmp_path, arch, library, write, address, code):
    device = device_of(tmp_path, arch, library)
    device.sim.inject(0, address, write)
    with pytest.raises(ProgramError, match=f"error {code} "):
        device.run_chunk(IDS[:1], 0, 1, False)


def test_registers(arch, library):
    """Every writable register keeps what is written, with the answer taken early or late."""
    rng = np.random.default_rng(5)
    for options in (SimOptions(), SimOptions(stall=0.5, seed=9)):
        with Simulator(arch, 1 << 12, options, library) as sim:
            assert sim.read(cm.ADDRESS["AP_CTRL"]) == cm.IDLE
            assert sim.read(cm.ADDRESS["WATCHDOG"]) == 1 << 20
            addresses = [
                cm.ADDRESS[n] for n in ("POS", "NTOK", "NLOG", "MASKEN", "PROGRAM", "INSTRUCTIONS", "WATCHDOG")
            ]
            addresses += [cm.ADDRESS["PROGRAM"] + 4]
            addresses += [cm.base_address(p) + h for p in range(sim.ports) for h in (0, 4)]
            values = {a: int(v) for a, v in zip(addresses, rng.integers(0, 1 << 32, len(addresses)), strict=True)}
            for a in rng.permutation(addresses):
                sim.write(int(a), values[a])
            for a in rng.permutation(addresses):
                assert sim.read(int(a)) == values[a]
            for a in rng.permutation(addresses):
                strobes = int(rng.integers(0, 16))
                mask = sum(255 << 8 * i for i in range(4) if strobes >> i & 1)
                sim.write(int(a), ~values[a] & 0xFFFFFFFF, strobes)
                values[a] ^= mask
            for a in rng.permutation(addresses):
                assert sim.read(int(a)) == values[a]
            for name in ("ERROR", "CYCLES", "BUILD"):
                before = sim.read(cm.ADDRESS[name])
                sim.write(cm.ADDRESS[name], 0xFFFFFFFF)
                assert sim.read(cm.ADDRESS[name]) == before
            assert sim.read(cm.base_address(sim.ports)) == 0
            assert sim.read(0xFFFC) == 0


def test_handshake(tmp_path, arch, library):
    """ap_ctrl_chain: done stays until continue, start waits for it; interrupts toggle."""
    device = device_of(tmp_path, arch, library)
    sim, ctrl = device.sim, cm.ADDRESS["AP_CTRL"]
    sim.write(cm.ADDRESS["NTOK"], 1)
    sim.write(cm.ADDRESS["NLOG"], 1)
    sim.write(cm.ADDRESS["GIE"], 0)
    sim.write(ctrl, cm.START)
    assert sim.read(ctrl) == cm.START
    assert sim.run(5000) is Stop.LIMIT, "interrupts are off"
    assert sim.read(ctrl) == cm.DONE | cm.READY
    assert sim.read(cm.ADDRESS["ISR"]) == 1
    sim.write(cm.ADDRESS["ISR"], 1)
    assert sim.read(cm.ADDRESS["ISR"]) == 0
    cycles = sim.read64(cm.ADDRESS["CYCLES"])
    assert 50 < cycles < 500
    sim.write(ctrl, cm.START)
    assert sim.run(2000) is Stop.LIMIT
    assert sim.read(ctrl) == cm.START | cm.DONE | cm.READY, "held back until continue"
    assert sim.read64(cm.ADDRESS["CYCLES"]) == cycles
    sim.write(cm.ADDRESS["GIE"], 1)
    sim.write(ctrl, cm.CONTINUE)
    assert sim.run(5000) is Stop.INTERRUPT
    assert sim.read(ctrl) == cm.DONE | cm.READY
    sim.write(cm.ADDRESS["SOFT_RESET"], 1)
    sim.write(cm.ADDRESS["ISR"], 1)
    sim.write(ctrl, cm.CONTINUE | cm.START)
    assert sim.run(2000) is Stop.LIMIT, "no start in reset"
    sim.write(cm.ADDRESS["SOFT_RESET"], 0)
    assert sim.run(5000) is Stop.INTERRUPT


def test_wrong_config_is_refused(tmp_path, arch, library):
    other = arch_of(channels=8)
    with pytest.raises(ConfigError, match="another architecture config"):
        device_of(tmp_path, other, library)


def test_package_without_room_for_the_program(tmp_path, arch, library):
    from dataclasses import replace

    p = package(tmp_path / "p.flpkg", arch)
    p.manifest = replace(p.manifest, memory=tuple(r for r in p.manifest.memory if r.name != "program"))
    with pytest.raises(PackageError, match='"program"'):
        RtlDevice(library=library).load(p)


def test_without_a_package():
    with pytest.raises(ProgramError, match="no package"):
        RtlDevice().run_chunk([1], 0, 1, False)


def test_trace(tmp_path):
    """A window of a run as VCD; a build without tracing says so."""
    device = device_of(tmp_path, WIDE, standin(WIDE, "vcd"), options=SimOptions(trace="vcd"))
    begin = device.sim.cycle
    device.sim.trace_start(tmp_path / "t.vcd")
    device.run_chunk(IDS[:1], 0, 1, False)
    device.sim.trace_stop()
    cycles = device.sim.cycle - begin
    text = (tmp_path / "t.vcd").read_text()
    assert "m_axi_araddr_o" in text
    stamps = [int(line[1:]) for line in text.splitlines() if line.startswith("#")]
    assert stamps[0] == 2 * begin
    assert stamps[-1] == 2 * (begin + cycles) - 1
    with Simulator(WIDE, 4096, library=standin(WIDE)) as sim, pytest.raises(ToolError, match="without tracing"):
        sim.trace_start(tmp_path / "x.vcd")


def test_memory_events(tmp_path, arch, library):
    """Applied to the memory as it was, they give the memory as it is; without the probe there are none of other kinds."""
    device = device_of(tmp_path, arch, library, options=SimOptions(probe=True, jitter_ns=300, stall=0.3))
    before = device.sim.memory.copy()
    assert len(device.sim.events()) == 0
    device.run_chunk(IDS[:5], 0, 3, True)
    after = device.sim.memory.copy()
    after[:, :LOGITS] = before[:, :LOGITS]  # the host wrote the ids
    events = device.sim.events()
    assert len(events) >= 3 * arch.cores * arch.channels and set(events["kind"]) == {Kind.MEMORY}
    assert (np.diff(events["cycle"].astype(int)) >= 0).all()
    assert not np.array_equal(before, after)
    for e in events:
        for i in range(64):
            if int(e["mask"]) >> i & 1:
                before[e["channel"], int(e["addr"]) + i] = e["data"][i]
    assert np.array_equal(before, after)
    assert len(device.sim.events()) == 0, "they are told once"
