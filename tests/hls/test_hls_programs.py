"""Random legal programs on the HLS kernel, and illegal ones: an error, never a hang, and the next run works."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, note, settings
from program_image import PROGRAM_BYTES, image
from random_programs import build_program
from test_random_programs import ARCH, HOSTS, PAIRS, STEPS, accepted, functional, where

from flightllm.executors.hls.kernel import HlsKernel, Outcome, Result
from flightllm.isa import disassemble, encode_program
from flightllm.isa.asm import assemble
from flightllm.isa.fields import Instruction
from flightllm.kernel.hls_top import build_word
from flightllm.kernel.parameters import build_digest


@cache
def kernel(exact: bool) -> HlsKernel:
    return HlsKernel(ARCH, exact_depths=exact)


def run(program: list[Instruction] | bytes, memory: np.ndarray, host=(0, 1, 0, 0), exact=True, seconds=60.0) -> Result:
    """One run; the program is written to the beginning of channel 0 of each core."""
    code = np.frombuffer(program if isinstance(program, bytes) else encode_program(program), np.uint8)
    memory[:: ARCH.channels, : code.size] = code
    inputs = dict(zip(("pos", "ntok", "nlog", "masken"), host, strict=True))
    inputs |= {"program": 0, "instructions": code.size // 64, "watchdog": 0, "soft_reset": 0}
    return kernel(exact).run(inputs, list(memory), seconds)


@settings(max_examples=60)
@given(HOSTS, STEPS, PAIRS, PAIRS)
def test_random_programs_on_hls(host, steps, moves, more):
    base = image(ARCH, False)
    program = build_program(ARCH, base, host, steps, moves, more, lambda p: accepted(p, host))
    note(disassemble(program.instructions))
    want, got = functional(program, base), base.memory.copy()
    result = run(program.instructions, got, host)
    assert (result.outcome, result.outputs["error"]) == (Outcome.DONE, 0)
    bad = np.argwhere(want[:, base.constant :] != got[:, base.constant :])
    assert not bad.size, (
        f"{len(bad)} bytes differ, first: {where(base, int(bad[0][0]), base.constant + int(bad[0][1]))}"
    )
    assert np.array_equal(want[:, PROGRAM_BYTES : base.constant], got[:, PROGRAM_BYTES : base.constant])


ILLEGAL = {
    "opcode": (b"\x3f".ljust(64, b"\0"), 1),
    "bits where no field is": (b"\0" * 63 + b"\x80", 1),
    "no HALT": (encode_program(assemble("BARRIER")), 1),
    "loop beyond the end": (encode_program(assemble("LOOP count=2 body=9\nHALT")), 1),
    "HALT in a loop": (encode_program(assemble("LOOP count=2 body=1\nHALT")), 1),
    "weights left in the ring": (encode_program(assemble("LDW addr=0x0 nbytes=64\nHALT")), 6),
    "more weights than the ring holds": (encode_program(assemble("LDW addr=0x0 nbytes=65536\nHALT")), 6),
    "keys left in the ring": (encode_program(assemble("LDK len=64 kind=K unit_bytes=64\nHALT")), 6),
    "beyond the vector buffer": (encode_program(assemble("LDV slots=4 rows=1 dst=0xfffff row=64\nHALT")), 7),
    "read beyond memory": (encode_program(assemble("LDV slots=4 rows=1 addr=0x4000000000 row=64\nHALT")), 2),
    "write beyond memory": (encode_program(assemble("STV slots=4 rows=1 addr=0x4000000000 row=64\nHALT")), 3),
    "token id": (encode_program(assemble("LDG ids=0x1000 table=0x2000 row=64 limit=7 slots=4 rows=1\nHALT")), 4),
}


@pytest.mark.parametrize("name", ILLEGAL)
@pytest.mark.parametrize("exact", [True, False])
def test_errors_end_and_the_next_run_works(name, exact):
    code, error = ILLEGAL[name]
    memory = np.zeros((ARCH.cores * ARCH.channels, 1 << 20), np.uint8)
    memory[:, 0x1000:0x1004] = 255  # a token id of -1
    result = run(code, memory, exact=exact)
    assert (result.outcome, result.outputs["error"] & 15) == (Outcome.DONE, error)
    good = run(
        assemble("LDV slots=4 rows=1 addr=0x1000 row=64\nSTV slots=4 rows=1 addr=0x3000 row=64 wait=L\nHALT"), memory
    )
    assert (good.outcome, good.outputs["error"]) == (Outcome.DONE, 0)
    assert np.array_equal(memory[:, 0x3000:0x3010], memory[:, 0x1000:0x1010])


def test_a_kernel_that_waits_for_ever_is_given_up():
    """MM without its LDW: every process waits. An endless loop: the time-out."""
    memory = np.zeros((ARCH.cores * ARCH.channels, 1 << 20), np.uint8)
    assert run(assemble("MM k=16 slots=1 tokens=1\nHALT"), memory).outcome is Outcome.DEADLOCK
    endless = "LOOP count=8388607 body=2\nLOOP rd=R9 count=8388607 body=1\nLDV slots=4 rows=1 row=64\nHALT"
    assert run(assemble(endless), memory, seconds=0.5).outcome is Outcome.TIMEOUT
    assert run(assemble("HALT"), memory).outcome is Outcome.DONE


def test_outputs():
    memory = np.zeros((ARCH.cores * ARCH.channels, 4096), np.uint8)
    outputs = run(assemble("HALT"), memory).outputs
    assert outputs == {"error": 0, "build": build_word(ARCH), "flavour": 1, "digest": build_digest(ARCH), "cycles": 0}
