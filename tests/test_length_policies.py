"""Length policies: what is counted is what the sequencer dispatches, and the policies relate as they must."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import flightllm
from flightllm.cli import main
from flightllm.isa import decode_program
from flightllm.isa.control import ALU, HALT, LOOP
from flightllm.isa.fields import Unit
from flightllm.isa.load import LDW
from flightllm.isa.registers import host_registers
from flightllm.isa.special import ADD
from flightllm.isa.trace import trace
from flightllm.lengths import _Counts, policies
from flightllm.package import Package


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("lengths") / "tiny.flpkg"
    flightllm.compile("tiny-austen", path, board="tiny", max_context=256)
    return Package.open(path)


def dispatched(program, regs) -> Counter:
    return Counter(inst.unit for _, inst, _ in trace(program, regs) if inst.unit is not Unit.Q)


@pytest.mark.parametrize(("pos", "count"), [(0, 1), (0, 32), (64, 7), (255, 1), (128, 32)])
def test_counts_are_those_of_the_sequencer(pos, count, package):
    program = decode_program(bytes(package.program))
    found = _Counts(program).of(host_registers(pos, count, 0, 1, True))
    assert +found == dispatched(program, host_registers(pos, count, 0, 1, True))


@st.composite
def loops(draw, depth=0):
    """A body of loads, sums, registers and loops of up to three levels."""
    body = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(("W", "S", "alu", "loop") if depth < 3 else ("W", "S", "alu")))
        if kind == "loop":
            inner = draw(loops(depth + 1))
            reg = draw(st.sampled_from((0, 8, 9)))
            body += [
                LOOP(rd=reg, count=draw(st.integers(0, 3)), count_r=draw(st.sampled_from((0, 10))), body=len(inner)),
                *inner,
            ]
        elif kind == "alu":
            body.append(ALU(op="add", rd=10, ra=10, imm=draw(st.integers(-1, 1))))
        else:
            body.append(LDW(nbytes=64) if kind == "W" else ADD(n0=1, n1=1, len=16))
    return body


@given(loops())
def test_counts_of_any_program(body):
    program = [*body, HALT()]
    assert +_Counts(program).of([0] * 32) == dispatched(program, [0] * 32)


def test_policies(package):
    program = decode_program(bytes(package.program))
    every, buckets, merged, ours = policies(package.manifest, program)
    assert every.programs == 2 * 256
    assert buckets.programs == merged.programs == 2 + 16
    assert every.instructions > buckets.instructions > merged.instructions > ours.instructions == len(program)
    assert ours.bytes == package.manifest.files["program.bin"].bytes
    # a prompt of 256 tokens, and 16 of its buckets of single tokens, by hand
    runs = [
        dispatched(program, host_registers(p, 32, 0, int(p == n - 32), True))
        for n in (128, 256)
        for p in range(0, n, 32)
    ]
    runs += [dispatched(program, host_registers(n - 1, 1, 0, 1, False)) for n in range(16, 257, 16)]
    assert merged.instructions == sum(sum(r.values()) for r in runs)
    channels = package.manifest.arch.channels
    apart = sum(sum(r.values()) + (channels - 1) * (r[Unit.W] + r[Unit.L] + r[Unit.T]) for r in runs)
    assert buckets.instructions == apart * package.manifest.arch.cores


def test_command(package):
    result = CliRunner().invoke(main, ["inspect", str(package.path), "--length-policy"], prog_name="flightllm")
    assert result.exit_code == 0, result.output
    assert "this program, for every length" in result.stdout
    result = CliRunner().invoke(main, ["inspect", str(package.path), "--length-policy", "--json"])
    rows = json.loads(result.stdout)["length_policy"]
    assert [r["bytes"] for r in rows] == sorted((r["bytes"] for r in rows), reverse=True)
