"""Random legal programs over all units: the kernel in RTL leaves the same VB, AB and memory as the functional executor."""

from __future__ import annotations

import numpy as np
import pytest
from generation import config
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from kernel import run_program
from program_image import PROGRAM_BYTES, VB_WORDS, Image, image
from program_steps import KINDS
from random_programs import Program, build_program

from flightllm.checker import check_run
from flightllm.checker.structure import check_structure
from flightllm.config.arch import ArchConfig
from flightllm.errors import ProgramError
from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.functional.core import Core
from flightllm.executors.functional.device import Steps
from flightllm.isa import disassemble
from flightllm.isa.blocks import key_slots
from flightllm.isa.fields import Instruction
from flightllm.isa.registers import host_registers
from flightllm.sim.hbm import HbmTiming
from flightllm.sim.simulator import SimOptions

ARCH = config(2, 2, 4)
#: two VPUs in a chain
SHARED = config(2, 2, 8, 2)


def functional(program: Program, base: Image, arch: ArchConfig = ARCH) -> np.ndarray:
    """Memory uint8 [cores * channels, bytes] after the program."""
    device = FunctionalDevice()
    memory = base.memory.copy()
    for k in range(arch.cores):
        core = Core(arch, memory[k * arch.channels : (k + 1) * arch.channels], base.constant, k, device.cache)
        core.regs = host_registers(program.pos, program.ntok, k, program.nlog, bool(program.masken))
        device.cores.append(core)
    device.program = program.instructions
    device._counters = {"instructions": 0}
    Steps([device._run_core(core) for core in device.cores], device._exchange).finish()
    return memory


def where(base: Image, channel: int, byte: int) -> str:
    """What the byte at which two memories differ was."""
    channels = base.arch.channels
    k, c = divmod(channel, channels)
    if byte >= base.dump:
        slot = (byte - base.dump) // 4
        if slot < 16 * VB_WORDS // channels:
            element = slot * channels + c
            return f"core {k}, VB word {element // 16} of the programs' part, element {element % 16}"
        at = byte - base.dump - 64 * VB_WORDS // channels
        group = key_slots(channels)
        slot = at // (256 * group) * group + at // 16 % group
        return f"core {k}, AB window {1 + 16 * (slot * channels + c) + at % (256 * group) // (16 * group)}"
    name = next((n for n, (at, size) in base.places.items() if at <= byte < at + size), "no place")
    return f"core {k}, channel {c}, memory {byte:#x} ({name})"


def accepted(program: list[Instruction], host: tuple[int, int, int, int], arch: ArchConfig = ARCH) -> bool:
    pos, ntok, nlog, masken = host
    try:
        check_structure(program)
        check_run(program, arch, pos=pos, ntok=ntok, nlog=nlog, masken=masken)
    except ProgramError:
        return False
    return True


HOSTS = st.tuples(st.integers(0, 300), st.integers(1, 32), st.integers(0, 32), st.integers(0, 1))
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.binary(min_size=32, max_size=32)), min_size=1, max_size=14)
PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4)
OPTIONS = st.builds(
    SimOptions,
    timing=st.sampled_from([HbmTiming.ideal(), HbmTiming()]),
    jitter_ns=st.sampled_from([0.0, 60.0, 600.0]),
    stall=st.sampled_from([0.0, 0.3, 0.7]),
    seed=st.integers(1, 1000),
)


def step(kind: str, *choices: int) -> tuple[str, bytes]:
    return kind, bytes(choices).ljust(32, b"\0")


PLAIN = ((0, 1, 0, 0), [], [], False, SimOptions(timing=HbmTiming.ideal()))


@pytest.mark.parametrize("arch", [ARCH, SHARED], ids=lambda arch: arch.vpus_text)
@settings(max_examples=40)
@example(PLAIN[0], [step("append", 1, 0, 6)], *PLAIN[1:])  # V rows of 256 codes: 2 KB a channel
@example(PLAIN[0], [step("mm"), step("attention", 1, 0, 0, 7)], *PLAIN[1:])  # no keys at all
@given(HOSTS, STEPS, PAIRS, PAIRS, st.booleans(), OPTIONS)
def test_random_programs(arch, host, steps, moves, more, corners, options):
    base = image(arch, corners)
    program = build_program(arch, base, host, steps, moves, more, lambda p: accepted(p, host, arch))
    note(disassemble(program.instructions))
    want, got = functional(program, base, arch), base.memory.copy()
    counters = run_program(arch, program.instructions, got, host, options)
    note(f"{counters['cycles']} cycles")
    bad = np.argwhere(want[:, base.constant :] != got[:, base.constant :])
    assert not bad.size, (
        f"{len(bad)} bytes differ, first: {where(base, int(bad[0][0]), base.constant + int(bad[0][1]))}"
    )
    assert np.array_equal(want[:, PROGRAM_BYTES : base.constant], got[:, PROGRAM_BYTES : base.constant])
