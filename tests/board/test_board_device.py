"""The board executor on a card in Python: what it refuses, what it survives, what it tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_kernel import DirectCard, FakeKernel
from sim.kernels import CHUNK, COPY, ERROR, LOGITS, NOTHING, PROGRAM, SIZE, arch_of, expected_logits, package

from flightllm.errors import ConfigError, FitError, FlightError, PackageError, ProgramError, ToolError
from flightllm.kernel import control_map as cm
from flightllm.runtime.board import BoardDevice, map_lines
from flightllm.runtime.device import Device, open_device
from flightllm.runtime.session import Session
from flightllm.sim.card import SimulatedCard, make_xclbin

ARCHS = {"1x2": arch_of(), "2x2": arch_of(cores=2)}
IDS = [5, 9, 19, 17, 2, 8, 3, 1, 4, 6, 31, 30, 29, 28, 27, 26]


@pytest.fixture(params=list(ARCHS))
def arch(request):
    return ARCHS[request.param]


def opened(tmp_path, arch, do=COPY, kernel=FakeKernel, image=None, xclbin=None, wires=None, **options):
    """A device with a package on it, and the simulated card."""
    card = SimulatedCard(kernel, arch, wires=wires)
    path = xclbin or make_xclbin(tmp_path / "card.xclbin", arch)
    device = BoardDevice(path, card=DirectCard(card), **{"timeout": 0.2, **options})
    device.load(package(tmp_path / "p.flpkg", arch, do, image))
    return device, card


def check(device, arch, ids, pos=0, nlog=None, masken=True):
    nlog = len(ids) if nlog is None else nlog
    logits = device.run_chunk(ids, pos, nlog, masken)
    assert np.array_equal(logits.view(np.uint32), expected_logits(arch, ids, pos, nlog, masken))


def test_chunks_come_back(tmp_path, arch):
    maps = []
    device, card = opened(tmp_path, arch, report=maps.append)
    assert isinstance(device, Device)
    for ids, pos, nlog, masken in (
        (IDS, 0, CHUNK, True),
        (IDS[:5], 700, 2, False),
        (IDS[3:4], 9, 1, True),
        (IDS, 1, 0, True),
    ):
        check(device, arch, ids, pos, nlog, masken)
    counters = device.counters()
    assert (counters["chunks"], counters["tokens"], card.programmed) == (4, 38, 1)
    assert counters["cycles"] >= counters["last.cycles"] == device.last["cycles"] > 7000
    assert len([name for name in counters if name.startswith("last.core")]) == arch.cores * (24 + 2 * arch.channels)
    assert maps == [device.placements]


def test_images_lie_in_their_banks(tmp_path, arch):
    ports = arch.cores * arch.channels
    image = np.random.default_rng(1).integers(0, 256, (ports, 512), np.uint8)
    device, card = opened(tmp_path, arch, image=image)
    code = np.frombuffer(bytes(device.driver.package.program), np.uint8)
    for port in range(ports):
        memory = card._memory[port]
        assert np.array_equal(memory[:512], image[port])
        there = memory[PROGRAM : PROGRAM + 64]
        assert np.array_equal(there, code if port % arch.channels == 0 else np.zeros(64, np.uint8))
        assert device.placements[port].address == port << 16
        assert device.placements[port].bank == f"HBM[{port}]"
        assert device.placements[port].size == SIZE
        names = [name for name, _, _ in device.placements[port].regions]
        assert ("program" in names) == (port % arch.channels == 0)
    text = "\n".join(map_lines(device.placements))
    assert "m_axi_gmem1  HBM[1]" in text and "0x10000" in text and "8,192 bytes" in text
    assert device.placements[0].to_json()["regions"][0] == {"name": "image", "offset": 0, "bytes": 512}


def test_a_used_card_is_cleared(tmp_path):
    """What lies behind the images begins as zero, whatever was there before."""
    arch = ARCHS["1x2"]
    device, card = opened(tmp_path, arch)
    card._memory[1][:] = 255
    device.driver.place()
    assert not card._memory[1][64:SIZE].any()


def test_two_ports_in_one_bank(tmp_path, arch):
    path = make_xclbin(tmp_path / "c.xclbin", arch, wires={1: 0})
    device, _ = opened(tmp_path, arch, xclbin=path)
    assert [p.address for p in device.placements[:2]] == [0, SIZE]
    check(device, arch, IDS)


def test_conversations_without_loading_again(tmp_path):
    arch = ARCHS["2x2"]
    device, card = opened(tmp_path, arch)
    session = Session(device, device.driver.package)
    first = session.feed(IDS[:7])
    before = card.kernel
    session.reset()
    assert np.array_equal(session.feed(IDS[:7]), first)
    assert card.kernel is before and card.programmed == 1


# --- what does not fit together -----------------------------------------------------------------------------------
def test_another_config_is_named(tmp_path):
    arch = ARCHS["1x2"]
    other = replace(arch, vpus=12, w_ring_bytes=8192)
    for path, kernel, what in (
        # the container says it; the card is not touched
        (make_xclbin(tmp_path / "a.xclbin", other), FakeKernel, "the xclbin was built"),
        # only the registers say it, of which BUILD knows the VPUs
        (make_xclbin(tmp_path / "b.xclbin", arch, tells=False), lambda _: FakeKernel(other), "the kernel was built"),
        # a container that is wrong about its own bitstream
        (make_xclbin(tmp_path / "c.xclbin", arch), lambda _: FakeKernel(other), "the kernel was built"),
    ):
        card = SimulatedCard(kernel, arch)
        device = BoardDevice(path, card=DirectCard(card))
        with pytest.raises(ConfigError, match=f"{what} for another config") as e:
            device.load(package(tmp_path / "p.flpkg", arch))
        assert "VPUs of an MPU (Vpus): 12, not 4" in e.value.why
        assert ("weight ring, bytes of a channel (WRingBytes): 8192, not 65536" in e.value.why) == (
            "a.xclbin" in str(path)
        )
        assert card.programmed == ("a.xclbin" not in str(path))


def test_a_difference_that_build_does_not_know(tmp_path):
    arch = ARCHS["1x2"]
    kernel = FakeKernel(replace(arch, mb_bytes=8192))
    path = make_xclbin(tmp_path / "a.xclbin", arch, tells=False)
    with pytest.raises(ConfigError, match="BUILD does not tell"):
        opened(tmp_path, arch, kernel=lambda _: kernel, xclbin=path)


def test_another_kind_of_kernel(tmp_path):
    with pytest.raises(ConfigError, match=r"not this version's kernel(.|\n)*FLAVOUR is 0x7"):
        opened(tmp_path, ARCHS["1x2"], kernel=lambda a: FakeKernel(a, flavour=7))


def test_memory_too_small(tmp_path, arch):
    path = make_xclbin(tmp_path / "c.xclbin", arch, bank_bytes=4096)
    with pytest.raises(FitError, match="does not fit") as e:
        opened(tmp_path, arch, xclbin=path)
    assert e.value.where == "HBM[0], behind m_axi_gmem0"
    assert e.value.why == "1 x 8,192 bytes are needed, it has 4,096"
    path = make_xclbin(tmp_path / "d.xclbin", arch, bank_bytes=12288, wires={1: 0})
    with pytest.raises(FitError, match=r"HBM\[0\], behind m_axi_gmem0, m_axi_gmem1(.|\n)*2 x 8,192"):
        opened(tmp_path, arch, xclbin=path)


def test_memory_taken_by_others(tmp_path):
    arch = ARCHS["1x2"]
    card = DirectCard(SimulatedCard(FakeKernel))
    allocate = card.allocate

    def greedy(bank, size):
        card.card._used[1] = bank.size - 4096
        return allocate(bank, size)

    card.allocate = greedy
    device = BoardDevice(make_xclbin(tmp_path / "c.xclbin", arch), card=card)
    with pytest.raises(
        FitError, match=r"no room(.|\n)*HBM\[1\], behind m_axi_gmem1(.|\n)*8,192 bytes of 65,536(.|\n)*4096 of"
    ):
        device.load(package(tmp_path / "p.flpkg", arch))


@pytest.mark.parametrize(
    ("wires", "what"),
    [
        ({1: None}, "port m_axi_gmem1 of the kernel reaches no memory"),
        ({1: 9}, r"m_axi_gmem1 .* not there(.|\n)*HBM\[9\]"),
    ],
)
def test_banks_that_are_not_there(tmp_path, arch, wires, what):
    path = make_xclbin(tmp_path / "c.xclbin", arch, wires=wires)
    with pytest.raises(ConfigError, match=what):
        opened(tmp_path, arch, xclbin=path)


def test_buffers_elsewhere_than_said(tmp_path):
    arch = ARCHS["1x2"]
    for shift, what in ((1 << 40, "not where the xclbin says"), (64, "not aligned")):
        card = DirectCard(SimulatedCard(FakeKernel))
        card.shift = shift
        device = BoardDevice(make_xclbin(tmp_path / "c.xclbin", arch), card=card)
        with pytest.raises(ConfigError, match=what):
            device.load(package(tmp_path / "p.flpkg", arch))


def test_fewer_ports_than_the_package_needs(tmp_path):
    path = make_xclbin(tmp_path / "c.xclbin", ARCHS["1x2"], tells=False)
    with pytest.raises(ConfigError, match=r"argument mem2 of the kernel(.|\n)*missing"):
        opened(tmp_path, ARCHS["2x2"], xclbin=path)


def test_another_register_map(tmp_path):
    """A container of another version: its arguments have the right names, at other addresses."""
    arch = ARCHS["1x2"]
    path = make_xclbin(tmp_path / "c.xclbin", arch)
    raw, there = path.read_bytes(), cm.base_address(1)
    assert raw.count(b'offset="%#x"' % there) == 1
    path.write_bytes(raw.replace(b'offset="%#x"' % there, b'offset="%#x"' % (there + 4)))
    with pytest.raises(ConfigError, match=rf"argument mem1 of the kernel(.|\n)*at {there + 4:#x}, not {there:#x}"):
        opened(tmp_path, arch, xclbin=path)


# --- what goes wrong in a run -------------------------------------------------------------------------------------
def revive(device, card, arch, do=COPY):
    """The package's program does something else from now on, and that works."""
    for port in range(0, arch.cores * arch.channels, arch.channels):
        card._memory[port][PROGRAM + 12] = do
    check(device, arch, IDS)


def test_error_of_the_kernel(tmp_path, arch):
    device, card = opened(tmp_path, arch, do=ERROR)
    for _ in range(2):
        with pytest.raises(
            ProgramError, match=r"error 1 \(illegal instruction\) in core 0(.|\n)*core 0: pc 0(.|\n)*units: L idle"
        ):
            device.run_chunk(IDS[:1], 0, 1, False)
    revive(device, card, arch)
    assert card.programmed == 1


def test_watchdog(tmp_path, arch):
    device, card = opened(tmp_path, arch, do=NOTHING)
    with pytest.raises(ProgramError, match=r"error 5 \(watchdog"):
        device.run_chunk(IDS[:1], 0, 1, False)
    revive(device, card, arch)


def endless(arch):
    return FakeKernel(arch, cycles=1 << 60)


def test_a_kernel_that_never_ends(tmp_path, arch):
    device, card = opened(tmp_path, arch, kernel=endless)
    with pytest.raises(ProgramError, match=r"did not end within 0.2 s(.|\n)*units: "):
        device.run_chunk(IDS[:1], 0, 1, False)
    card.kernel.cycles = 7000
    check(device, arch, IDS)
    assert card.programmed == 1, "a reset is enough"
    assert card.kernel.values[cm.ADDRESS["WATCHDOG"]] == 1 << 20, "as before"


def test_a_second_time_out_programs_the_card_again(tmp_path):
    arch = ARCHS["1x2"]
    device, card = opened(tmp_path, arch, kernel=endless)
    for times in (1, 2, 2):
        with pytest.raises(ProgramError, match="did not end"):
            device.run_chunk(IDS[:1], 0, 1, False)
        assert card.programmed == times


def test_a_kernel_that_a_reset_does_not_help(tmp_path, monkeypatch):
    monkeypatch.setattr("flightllm.runtime.driver._ANSWER_S", 0.05)
    arch = ARCHS["1x2"]
    device, card = opened(tmp_path, arch, kernel=lambda a: FakeKernel(a, deaf=True))
    session = Session(device, device.driver.package)
    session.feed(IDS[:3])
    card._memory[0][PROGRAM + 12] = NOTHING
    with pytest.raises(ProgramError, match="did not end"):
        session.feed(IDS[:1])
    assert card.programmed == 2
    with pytest.raises(FlightError, match="the conversation is lost"):
        device.run_chunk(IDS[:1], 3, 1, False)
    assert session.position == 0, "the session knows that its cache is gone"
    assert np.array_equal(session.feed(IDS[:3], 3).view(np.uint32), expected_logits(arch, IDS[:3], 0, 3, True))
    check(device, arch, IDS[:1], 3)


def test_axi_errors(tmp_path, arch):
    device, card = opened(tmp_path, arch)
    for size, code in ((PROGRAM, 2), (LOGITS, 2 if arch.channels == 1 else 3)):
        port = 0 if code == 2 else 1
        card.cut(port, size)
        with pytest.raises(ProgramError, match=f"error {code} "):
            device.run_chunk(IDS, 0, CHUNK, True)
        card.cut(port, None)
        check(device, arch, IDS)
    assert card.programmed == 1


def test_wired_to_another_bank_than_said(tmp_path):
    """The container says one bank, the bitstream has another: the kernel's first access there is an error, and not silence."""
    arch = ARCHS["1x2"]
    device, card = opened(tmp_path, arch, wires={0: 1})
    with pytest.raises(ProgramError, match="error 2 "):
        device.run_chunk(IDS, 0, CHUNK, True)
    card._wires = {}
    device.load(device.driver.package)
    check(device, arch, IDS)


def test_interrupted_run(tmp_path, monkeypatch):
    """Ctrl-C leaves a run; the next one waits for its end."""
    arch = ARCHS["1x2"]
    device, card = opened(tmp_path, arch, kernel=lambda a: FakeKernel(a, cycles=100_000))
    done = device.driver.done

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(device.driver, "done", interrupt)
    with pytest.raises(KeyboardInterrupt):
        device.run_chunk(IDS, 0, 1, True)
    monkeypatch.setattr(device.driver, "done", done)
    check(device, arch, IDS[:4])
    assert card.programmed == 1


def test_made_from_hls(tmp_path):
    """No state and no counters but the cycles; it says so."""
    arch = ARCHS["1x2"]
    device, card = opened(tmp_path, arch, do=NOTHING, kernel=lambda a: FakeKernel(a, flavour=1))
    with pytest.raises(ProgramError, match="made from HLS does not tell the state"):
        device.run_chunk(IDS, 0, 1, True)
    revive(device, card, arch)
    assert set(device.counters()) == {"chunks", "tokens", "cycles", "last.cycles"}
    assert not [a for a in card.kernel.listens if a >= cm.CORE], "it has no such registers"


def from_hls(arch, **options):
    return FakeKernel(arch, flavour=1, **options)


def test_a_kernel_that_says_nothing_before_its_first_run(tmp_path):
    """It is asked by an empty program before its memory is filled."""
    arch = ARCHS["2x2"]
    image = np.random.default_rng(1).integers(0, 256, (4, 512), np.uint8)
    device, card = opened(tmp_path, arch, kernel=from_hls, image=image)
    assert device.driver.flavour == "hls" and np.array_equal(card._memory[0][:512], image[0])
    check(device, arch, IDS)
    other = SimulatedCard(lambda _: from_hls(replace(arch, vpus=12)), arch)
    device = BoardDevice(make_xclbin(tmp_path / "o.xclbin", arch, tells=False), card=DirectCard(other))
    with pytest.raises(ConfigError, match=r"the kernel was built for another config(.|\n)*\(Vpus\): 12, not 4"):
        device.load(device_package := package(tmp_path / "o.flpkg", arch, image=image))
    assert device_package.image(0, 1).any() and not other._memory[1].any(), "nothing was placed"
    with pytest.raises(ProgramError, match="did not end an empty program within 0.2 s"):
        opened(tmp_path, arch, kernel=lambda a: from_hls(a, cycles=1 << 60))


# --- without a card -----------------------------------------------------------------------------------------------
def test_what_is_needed(tmp_path):
    p = package(tmp_path / "p.flpkg", ARCHS["1x2"])
    with pytest.raises(ToolError, match="needs an xclbin"):
        open_device("board", p)
    with pytest.raises(ConfigError, match="cannot be read"):
        open_device("board", p, xclbin=tmp_path / "none.xclbin")
    path = make_xclbin(tmp_path / "c.xclbin", ARCHS["1x2"])
    with pytest.raises(FlightError, match="time-out of 0"):
        BoardDevice(path, timeout=0)
    with pytest.raises(ProgramError, match="no package"):
        BoardDevice(path).run_chunk([1], 0, 1, False)


def test_package_without_room_for_the_program(tmp_path):
    device, _ = opened(tmp_path, ARCHS["1x2"])
    p = package(tmp_path / "q.flpkg", ARCHS["1x2"])
    p.manifest = replace(p.manifest, memory=tuple(r for r in p.manifest.memory if r.name != "program"))
    with pytest.raises(PackageError, match='"program"'):
        device.load(p)
    with pytest.raises(ProgramError, match="no package"):
        device.run_chunk([1], 0, 1, False)
