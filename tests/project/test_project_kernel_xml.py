"""kernel.xml: against a schema made from its documentation, and against the signature that the HLS top is made from, too."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import xmlschema

from flightllm.config.arch import ArchConfig
from flightllm.config.board import load_board
from flightllm.kernel import control_map, signature

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("kernel.xsd"))
VITIS = ["u280", "u50", "u55c"]
TWO_CORES = {"cores": 2, "channels": 16, "vpus": 8, "vb_elements": 1048576}


@pytest.mark.parametrize(("board", "changes"), [*((b, {}) for b in VITIS), ("u280", TWO_CORES)])
def test_is_what_the_documentation_says(project, board, changes):
    SCHEMA.validate(project(board, **changes) / "kernel.xml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('language="ip_c"', 'language="c"'),
        ('id="1"', 'id="0"'),
        ('offset="0x018"', 'offset="0x010"'),
        ('dataWidth="512"', 'dataWidth="500"'),
        ('port="m_axi_gmem3"', 'port="m_axi_gmem99"'),
        ("</args>", "</args><more/>"),
        (' hostSize="0x8"', ""),
    ],
)
def test_the_schema_can_say_no(project, old, new):
    text = (project("u280") / "kernel.xml").read_text()
    assert old in text
    assert not SCHEMA.is_valid(text.replace(old, new, 1))


def hls_signature(arch: ArchConfig) -> list[tuple[str, int, str]]:
    """Arguments of the HLS top with the offsets that Vitis HLS gives them by itself, in order: (name, offset, port)."""
    out, offset = [], 0x10
    for argument in signature.arguments(arch):
        out.append((argument.name, offset, argument.port or signature.CONTROL_PORT))
        offset = control_map.after(offset, argument.bits, argument.output)
    return out


@pytest.mark.parametrize("changes", [{}, TWO_CORES])
def test_both_flavours_have_the_same_signature(project, changes):
    """Order, offsets, sizes, types and ports: one host program and one link configuration serve the kernels from RTL and from HLS."""
    arch = ArchConfig.from_dict(load_board("u280").arch.to_dict() | changes)
    kernel = ElementTree.parse(project("u280", **changes) / "kernel.xml").getroot().find("kernel")
    args = kernel.findall("args/arg")
    assert [(a.get("name"), int(a.get("offset"), 16), a.get("port")) for a in args] == hls_signature(arch)
    assert [int(a.get("id")) for a in args] == list(range(len(args)))
    for a, argument in zip(args, signature.arguments(arch), strict=True):
        assert (int(a.get("size"), 16), int(a.get("hostSize"), 16)) == (argument.bits // 8, argument.bits // 8)
        assert (a.get("type"), int(a.get("addressQualifier"))) == (argument.ctype, 1 if argument.port else 0)
    ports = {p.get("name"): p for p in kernel.findall("ports/port")}
    assert list(ports) == [signature.CONTROL_PORT, *(signature.memory_port(p) for p in range(signature.ports(arch)))]
    control = ports.pop(signature.CONTROL_PORT)
    assert (control.get("mode"), int(control.get("range"), 16)) == ("slave", signature.CONTROL_BYTES)
    assert {(p.get("mode"), p.get("dataWidth"), p.get("base")) for p in ports.values()} == {("master", "512", "0x0")}
    assert (kernel.get("name"), kernel.get("hwControlProtocol"), kernel.get("interrupt")) == (
        "flightllm",
        "ap_ctrl_chain",
        "true",
    )


@pytest.mark.parametrize("changes", [{}, TWO_CORES])
def test_the_hls_top_has_the_arguments_of_the_description(project, changes):
    """Names in order, and the bundle of each pointer, from the C++ itself."""
    text = (project("u280", "hls", **changes) / "hls" / "flightllm_top.cpp").read_text()
    parameters = re.search(r'extern "C" void flightllm\((.*?)\) \{', text, re.DOTALL)[1]
    names = [parameter.split()[-1] for parameter in parameters.split(",")]
    bundles = dict(re.findall(r"#pragma HLS interface mode = m_axi port = (\w+) bundle = (\w+) ", text))
    controls = re.findall(r"#pragma HLS interface mode = s_axilite port = (\w+) bundle = control", text)
    args = list(ElementTree.parse(project("u280", **changes) / "kernel.xml").getroot().iter("arg"))
    assert names == [a.get("name") for a in args]
    assert {name: f"m_axi_{bundle}" for name, bundle in bundles.items()} == {
        a.get("name"): a.get("port") for a in args if a.get("addressQualifier") == "1"
    }
    assert controls == [*names, "return"]


def test_registers_lie_inside_the_range_of_the_port(project):
    """XRT refuses a kernel whose arguments lie outside it."""
    for arg in ElementTree.parse(project("u280") / "kernel.xml").getroot().iter("arg"):
        assert int(arg.get("offset"), 16) + int(arg.get("size"), 16) <= signature.CONTROL_BYTES


def test_ports_of_the_wrapper_are_those_of_the_description(project):
    folder = project("u280")
    wrapper = (folder / "rtl" / "flightllm.v").read_text()
    found = re.findall(r"(?:input|output)\s+wire\s+(?:\[\d+:0\]\s+)?(\w+)_awvalid\b", wrapper)
    ports = ElementTree.parse(folder / "kernel.xml").getroot().iter("port")
    assert found == [p.get("name") for p in ports]
    vlnv = ElementTree.parse(folder / "kernel.xml").getroot().find("kernel").get("vlnv")
    vendor, library, name, version = vlnv.split(":")
    script = (folder / "scripts" / "package_kernel.tcl").read_text()
    assert f"-vendor {vendor} -library {library} " in script
    assert f"set_property name {name} $core\nset_property version {version} $core\n" in script
