"""The record of synthesis: complete, consistent with the RTL and with the estimator; a part of it is synthesised again."""

from __future__ import annotations

import re

import pytest

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.errors import ToolError
from flightllm.resources.estimate import estimate, unit_counts
from flightllm.synth import yosys
from flightllm.synth.netlist import RESOURCES, counts
from flightllm.synth.record import load, modules_of, source_digest
from flightllm.synth.units import UNITS, Memory, sample_arch

BY_NAME = {u.name: u for u in UNITS}


def recorded():
    return [(u, load()["units"][u.name]) for u in UNITS if u.name in load()["units"]]


def test_units_are_the_whole_design():
    rtl = data_dir("rtl")
    modules = {p.stem for p in rtl.rglob("*.sv") if not p.stem.endswith("_pkg")} - set(yosys.PRIMITIVES)
    # beside the kernel, in the designs of some boards
    modules -= {p.stem for p in (rtl / "board").iterdir()}
    covered = {m for u in UNITS for m in modules_of(u)}
    # the top connects its parts and watches for the end of a run; the black box is for HLS kernels
    assert modules - covered == {"flightllm_top", "csd_chain_blackbox"}
    for unit in UNITS:
        assert set(unit.boxes) <= {u.module for u in UNITS}


def test_a_unit_stands_behind_its_boxes():
    seen = set()
    for unit in UNITS:
        assert set(unit.boxes) <= seen, unit.name
        seen.add(unit.module)


def test_units_without_figures_are_named():
    """A sum that lacks a unit says so; the record that comes with flightllm lacks none."""
    assert estimate(ArchConfig()).missing == []
    record = load()
    del record["units"]["tokens"]
    result = estimate(ArchConfig(), record)
    assert result.missing == ["tokens"]
    assert [r.name for r in result.rows] == [u.name for u in UNITS if u.name != "tokens"]
    assert "tokens" in " ".join(result.notes)


@pytest.mark.parametrize(("unit", "figures"), recorded(), ids=lambda x: getattr(x, "name", ""))
def test_estimate_is_exact_at_the_samples(unit, figures):
    assert [s["arch"] for s in figures["samples"]] == list(unit.samples)
    assert len(unit.samples) >= len(unit.terms)
    for sample in figures["samples"]:
        got = unit_counts(unit, figures, sample_arch(sample["arch"]))
        # blocks of a unit with memories go by geometry: the test below
        linear = [r for r in RESOURCES if not (unit.memories(sample_arch({})) and r in ("uram", "bram36"))]
        want = {r: sample["counts"][r] for r in linear}
        assert {r: got[r] for r in linear} == pytest.approx(want, abs=0.6), sample["arch"]


@pytest.mark.parametrize(("unit", "figures"), recorded(), ids=lambda x: getattr(x, "name", ""))
def test_memories_became_blocks(unit, figures):
    """No memory that is meant for blocks fell into registers; and the count of blocks is the geometry's."""
    for sample in figures["samples"]:
        memories = unit.memories(sample_arch(sample["arch"]))
        have = sample["counts"]
        if memories:
            uram, bram36 = sum(m.uram() for m in memories), sum(m.bram36() for m in memories)
            assert have["bram36"] == bram36
            # Yosys folds the last column of a deep memory, a few bits wide, into fewer blocks than its rows
            spare = sum(m.copies * (-(-m.depth // 4096) - 1) for m in memories if m.ultra)
            assert uram - spare <= have["uram"] <= uram
        bits = sum(m.width * m.depth * m.copies for m in memories)
        assert not bits or have["ff"] < bits


@pytest.mark.parametrize(
    ("memory", "blocks"),
    [
        (Memory(72, 512), 1), (Memory(36, 1024), 1), (Memory(48, 512), 1), (Memory(48, 1024), 1.5), (Memory(36, 512), 0.5),
        (Memory(64, 256), 1), (Memory(8, 4096), 1), (Memory(128, 512, copies=2), 4),
    ],
)  # fmt: skip
def test_block_ram_geometry(memory, blocks):
    assert (memory.bram36(), memory.uram()) == (blocks, 0)


def test_ultra_ram_geometry():
    assert Memory(64, 4097, True, copies=16).uram() == 32
    assert Memory(512, 4096, True).uram() == 8
    # enables of 32 bits are four bytes: two elements a block
    assert Memory(512, 4096, True, part=32).uram() == 8
    assert Memory(144, 4096, True).uram() == 2


def test_dsps_are_those_of_the_design():
    """Formula against synthesis: none is inferred by accident where there are many."""
    figures = load()["units"]

    def each(name: str, index: int = -1) -> float:
        return figures[name]["samples"][index]["counts"]["dsp"]

    assert each("vpu") == 16
    assert each("vpu_scale") == 4
    assert each("mpu") == 0
    assert each("ring") == each("axi_reader") == each("axi_writer") == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tokens", "axi_writer"])
def test_synthesis_again_gives_the_record(name):
    unit = BY_NAME[name]
    figures = load()["units"][name]
    if figures["sources"] != source_digest(unit):
        pytest.skip(f"{name} has changed since it was recorded: run `make synth`")
    if figures["tool"] != yosys.version():
        pytest.skip(f"recorded with {figures['tool']}")
    sample = figures["samples"][-1]
    assert counts(yosys.synthesise(unit.module, sample["parameters"], unit.boxes, unit.wide_muxes)) == sample["counts"]


def test_digest_follows_code_and_not_comments(monkeypatch):
    from flightllm.synth import record

    code = dict(record._code())
    before = source_digest(BY_NAME["vpu"])
    monkeypatch.setattr(record, "_code", lambda: code | {"dsp_slice": code["dsp_slice"] + " wire x;"})
    assert source_digest(BY_NAME["vpu"]) != before
    monkeypatch.setattr(record, "_code", lambda: code | {"DSP48E2": ""})
    assert source_digest(BY_NAME["vpu"]) == before


def declaration(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Parameters with their defaults, ports with their direction and width, of a module's text."""
    text = re.sub(r"//.*|\(\*.*?\*\)", "", text)
    parameters = dict(re.findall(r"parameter\b(?:\s+integer)?\s*(\w+)\s*=\s*([^,;)\s]+)", text))
    ports = {}
    for direction, width, name in re.findall(r"\b(input|output)\b(?:\s+logic)?\s*(\[[^\]]*\])?\s*(\w+)", text):
        ports[name] = direction + re.sub(r"\s", "", width)
    return parameters, ports


def test_dsp_model_has_names_widths_and_defaults_of_the_primitive():
    model = declaration((data_dir("rtl") / "matrix" / "DSP48E2.sv").read_text())
    real = declaration(yosys.primitive_stub("DSP48E2"))
    for mine, theirs in zip(model, real, strict=True):
        assert mine
        assert {name: theirs.get(name) for name in mine} == mine
    # every input of the primitive is an input of the model, so that Verilator demands its connection
    assert {n for n, d in real[1].items() if d.startswith("input")} == {
        n for n, d in model[1].items() if d.startswith("input")
    }


@pytest.mark.slow
def test_whole_design_elaborates():
    yosys.elaborate(ArchConfig(channels=2, vpus=4, lanes=4))
    yosys.elaborate(ArchConfig(cores=3, channels=1, vpus=4, lanes=16, port_bits=128))


@pytest.mark.slow
def test_what_the_primitive_has_not_is_refused(tmp_path):
    stub = tmp_path / "stub.sv"
    stub.write_text(yosys.primitive_stub("DSP48E2"))
    user = tmp_path / "user.sv"
    for text in ("DSP48E2 #(.AREGS(1)) i_dsp (.CLK(clk_i));", "DSP48E2 i_dsp (.CLOCK(clk_i));"):
        user.write_text(f"module user (input logic clk_i);\n  {text}\nendmodule\n")
        with pytest.raises(ToolError, match="AREGS|CLOCK"):
            yosys.run([yosys.read_command([user, stub], "user", {})])
