"""Counts and paths of netlists small enough to work out by hand."""

from __future__ import annotations

import pytest

from flightllm.synth import timing
from flightllm.synth.netlist import counts
from flightllm.synth.timing import Analysis, PortTiming


class Net:
    """Builds Yosys' JSON of a module, cell by cell."""

    def __init__(self) -> None:
        self.module = {"ports": {}, "cells": {}, "netnames": {}}
        self.bits = 1

    def wire(self, name: str, width: int = 1) -> list[int]:
        bits = list(range(self.bits + 1, self.bits + 1 + width))
        self.bits += width
        self.module["netnames"][name] = {"bits": bits}
        return bits

    def port(self, name: str, direction: str, bits: list[int]) -> None:
        self.module["ports"][name] = {"direction": direction, "bits": bits}

    def cell(self, kind: str, ins: dict, outs: dict, **parameters: str) -> None:
        self.module["cells"][f"c{len(self.module['cells'])}"] = {
            "type": kind, "parameters": parameters, "connections": {**ins, **outs},
            "port_directions": dict.fromkeys(ins, "input") | dict.fromkeys(outs, "output"),
        }  # fmt: skip

    def ff(self, d: list[int], name: str) -> list[int]:
        q = self.wire(name)
        self.cell("FDRE", {"C": self.clk, "CE": ["1"], "D": d, "R": ["0"]}, {"Q": q})
        return q

    def lut(self, ins: list[list[int]], name: str) -> list[int]:
        out = self.wire(name)
        self.cell(f"LUT{len(ins)}", {f"I{i}": x for i, x in enumerate(ins)}, {"O": out})
        return out

    @property
    def clk(self) -> list[int]:
        if "clk" not in self.module["ports"]:
            self.port("clk", "input", self.wire("clk"))
        return self.module["ports"]["clk"]["bits"]


def test_counts_of_every_kind():
    n = Net()
    kinds = [
        "LUT6",
        "LUT2",
        "INV",
        "MUXF7",
        "SRL16E",
        "SRLC32E",
        "RAM32M16",
        "RAM64M8",
        "FDRE",
        "FDSE",
        "CARRY4",
        "CARRY4",
        "CARRY4",
    ]
    kinds += ["DSP48E2", "RAMB36E2", "RAMB18E2", "URAM288", "box"]
    for kind in kinds:
        n.cell(kind, {}, {})
    got = counts(n.module)
    assert got == {
        "dsp": 1, "lut": 2 + 16 + 2, "lutram": 16, "srl": 2, "ff": 2, "carry8": 2, "bram36": 1.5, "uram": 1,
    }  # fmt: skip


def test_path_between_registers():
    n = Net()
    a = n.ff(n.wire("in"), "a")
    x = n.lut([a, a], "x")
    y = n.lut([x], "y")
    n.ff(y, "b")
    worst, _ = Analysis(n.module).report()
    path = worst["inside"]
    assert path.ns == pytest.approx(timing.FF_OUT + 3 * timing.NET + 2 * timing.LUT + timing.FF_SETUP)
    assert (path.levels, path.start, path.end) == (2, "a (FDRE)", "b (FDRE.D)")


def test_carry_chain_is_one_level_and_takes_no_routing():
    n = Net()
    a = n.ff(n.wire("in"), "a")
    s = n.lut([a], "s")
    co = ["0"]
    for i in range(3):
        out, carry = n.wire(f"o{i}", 4), n.wire(f"co{i}", 4)
        n.cell("CARRY4", {"CI": co, "CYINIT": ["0"], "DI": s * 4, "S": s * 4}, {"O": out, "CO": carry})
        co = carry[3:]
    n.ff(out[3:], "b")
    path = Analysis(n.module).report()[0]["inside"]
    want = (
        timing.FF_OUT + timing.NET + timing.LUT + timing.CARRY_IN + 2 * timing.CARRY_STEP + timing.NET + timing.FF_SETUP
    )
    assert path.ns == pytest.approx(want)
    assert path.levels == 2


@pytest.mark.parametrize(("registered", "ns"), [("1", timing.DSP_OUT), ("0", timing.DSP_OUT + timing.DSP_ALU)])
def test_dsp_output_counts_as_registered_only_with_its_register(registered, ns):
    n = Net()
    p = n.wire("p", 48)
    n.cell("DSP48E2", {"CLK": n.clk}, {"P": p}, PREG=registered, MREG="1")
    n.ff(p[:1], "b")
    assert Analysis(n.module).report()[0]["inside"].ns == pytest.approx(ns + timing.NET + timing.FF_SETUP)


def test_memory_output_register_counts():
    found = []
    for oreg in ("FALSE", "TRUE"):
        n = Net()
        out = n.wire("out", 72)
        n.cell("URAM288", {"CLK": n.clk}, {"DOUT_B": out}, OREG_B=oreg)
        n.ff(out[:1], "b")
        found.append(Analysis(n.module).report()[0]["inside"].ns - timing.NET - timing.FF_SETUP)
    assert found == pytest.approx([timing.RAM_OUT, timing.RAM_OUT_REGISTERED])


def test_ports_and_boxes_make_the_same_path_as_a_flat_netlist():
    inner = Net()
    i, through = inner.wire("i_i"), inner.wire("t_i")
    inner.port("i_i", "input", i)
    inner.port("t_i", "input", through)
    q = inner.ff(inner.lut([i], "x"), "q")
    inner.port("q_o", "output", q)
    inner.port("t_o", "output", inner.lut([through], "y"))
    _, ports = Analysis(inner.module).report()
    ports = PortTiming.from_dict(ports.to_dict())
    assert ports.across == {"t_i": {"t_o": (pytest.approx(timing.LUT), 1)}}

    outer = Net()
    a = outer.ff(outer.wire("in"), "a")
    q_o, t_o = outer.wire("q_o"), outer.wire("t_o")
    outer.cell("box", {"i_i": t_o, "t_i": a}, {"q_o": q_o, "t_o": t_o})
    outer.ff(q_o, "b")
    path = Analysis(outer.module, {"box": ports}).report()[0]["inside"]
    assert path.ns == pytest.approx(timing.FF_OUT + 3 * timing.NET + 2 * timing.LUT + timing.FF_SETUP)
    assert path.levels == 2


def test_combinational_loop_is_found():
    n = Net()
    x, y = n.wire("x"), n.wire("y")
    n.cell("LUT1", {"I0": y}, {"O": x})
    n.cell("LUT1", {"I0": x}, {"O": y})
    assert Analysis(n.module).loops


def test_unknown_cell_is_an_error():
    n = Net()
    n.cell("XYZ", {}, {})
    with pytest.raises(ValueError, match="XYZ"):
        Analysis(n.module)
