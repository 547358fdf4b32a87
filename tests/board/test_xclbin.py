"""The container: made from the kernel's signature, read back, damaged in every way."""

from __future__ import annotations

import random
from xml.etree import ElementTree

import pytest
from sim.kernels import arch_of

from flightllm.config.arch import ArchConfig
from flightllm.config.board import load_board
from flightllm.errors import ConfigError, FlightError
from flightllm.kernel import signature
from flightllm.kernel.facts import KernelFacts, beside
from flightllm.kernel.xclbin import Bank, Xclbin, write
from flightllm.project.write import write_project
from flightllm.sim.card.container import INSTANCE, PLATFORM, REGISTERS, make_xclbin, metadata


@pytest.mark.parametrize(
    "arch", [arch_of(), arch_of(cores=2), load_board("u280").arch, ArchConfig(cores=3, channels=32)], ids=str
)
def test_comes_back(tmp_path, arch):
    there = Xclbin.read(make_xclbin(tmp_path / "c.xclbin", arch))
    (kernel,) = there.instances
    assert there.kernel(signature.NAME) is kernel
    assert (there.platform, kernel.kernel, kernel.name, kernel.base) == (PLATFORM, signature.NAME, INSTANCE, REGISTERS)
    want = signature.arguments(arch)
    assert [(a.name, a.index, a.address, a.port) for a in kernel.arguments] == [
        (a.name, i, a.address, a.port) for i, a in enumerate(want)
    ]
    ports = signature.ports(arch)
    memories = [a.index for a in kernel.arguments if a.port]
    assert dict(kernel.banks) == {index: (port,) for port, index in enumerate(memories)}
    assert there.banks == tuple(
        Bank(b, f"HBM[{b}]", b * arch.channel_bytes, arch.channel_bytes, b < ports) for b in range(max(32, ports))
    )
    assert there.facts == KernelFacts(arch)
    assert len(there.uuid) == 32


def test_same_input_same_bytes(tmp_path):
    arch = arch_of()
    a, b, c = (make_xclbin(tmp_path / f"{n}.xclbin", arch, wires=w) for n, w in (("a", {}), ("b", {}), ("c", {1: 5})))
    assert a.read_bytes() == b.read_bytes()
    assert Xclbin.read(a).uuid != Xclbin.read(c).uuid
    assert Xclbin.read(c).instances[0].banks[14] == (5,)


def test_metadata_is_what_linkers_write():
    """The elements and attributes that pynq and XRT read."""
    kernel = ElementTree.fromstring(metadata(arch_of())).find("platform/device/core/kernel")
    assert kernel.attrib["hwControlProtocol"] == "ap_ctrl_chain"
    modes = {p.attrib["name"]: p.attrib["mode"] for p in kernel.findall("port")}
    assert modes == {"s_axi_control": "slave", "m_axi_gmem0": "master", "m_axi_gmem1": "master"}
    assert int(kernel.find("port").attrib["range"], 0) == 0x10000
    pos, mem = kernel.find("arg[@name='pos']"), kernel.find("arg[@name='mem1']")
    assert (pos.attrib["addressQualifier"], pos.attrib["size"], pos.attrib["offset"]) == ("0", "0x4", "0x10")
    assert (mem.attrib["addressQualifier"], mem.attrib["type"], mem.attrib["port"]) == ("1", "void*", "m_axi_gmem1")


def test_the_file_beside_it(tmp_path):
    arch = arch_of(cores=2)
    path = make_xclbin(tmp_path / "c.xclbin", arch, tells=False)
    assert Xclbin.read(path).facts is None
    beside(path).write_text(KernelFacts(arch, "hls").to_json())
    assert Xclbin.read(path).facts == KernelFacts(arch, "hls")
    assert beside(path).name == "c.xclbin.json"
    for text in (
        "",
        KernelFacts(arch).to_json().replace("flightllm-build", "other"),
        "[]",
        '{"format": "other"}',
        KernelFacts(arch).to_json().replace('"rtl"', '"vhdl"'),
        KernelFacts(arch).to_json()[:-9],
    ):
        beside(path).write_text(text)
        with pytest.raises(ConfigError, match=r"cannot be read(.|\n)*c.xclbin.json"):
            Xclbin.read(path)


@pytest.mark.parametrize("flavour", ["rtl", "hls"])
def test_what_build_writes_is_understood(tmp_path, flavour):
    """The record beside the image, and the kernel's description, by `flightllm build`."""
    write_project(None, tmp_path / "project", board="u280", flavour=flavour)
    arch = load_board("u280").arch
    path = make_xclbin(tmp_path / "flightllm.xclbin", arch, tells=False)
    beside(path).write_bytes((tmp_path / "project" / "flightllm.xclbin.json").read_bytes())
    there = Xclbin.read(path)
    assert there.facts == KernelFacts(arch, flavour)
    if flavour == "rtl":
        kernel = ElementTree.parse(tmp_path / "project" / "kernel.xml").getroot().find("kernel")
        ours = {a.name: (a.index, a.address, a.port or "s_axi_control") for a in there.instances[0].arguments}
        theirs = {
            a.attrib["name"]: (int(a.attrib["id"]), int(a.attrib["offset"], 0), a.attrib["port"])
            for a in kernel.iter("arg")
        }
        assert ours == theirs
        links = dict(
            line[3:].split(":", 1)
            for line in (tmp_path / "project" / "link.cfg").read_text().splitlines()
            if line.startswith("sp=")
        )
        tags = {
            f"{there.instances[0].name}.{a.port}": there.banks[there.instances[0].banks[a.index][0]].tag
            for a in there.instances[0].arguments
            if a.port
        }
        assert links == tags


def test_no_kernel_of_ours(tmp_path):
    arch = arch_of()
    text = metadata(arch).replace('kernel name="flightllm"', 'kernel name="vadd"')
    write(tmp_path / "c.xclbin", "p", bytes(16), text, [(f"vadd:{INSTANCE}", 0)], [Bank(0, "HBM[0]", 0, 1024)], [])
    with pytest.raises(ConfigError, match=r"no kernel called flightllm(.|\n)*kernels in it: vadd:flightllm_1"):
        Xclbin.read(tmp_path / "c.xclbin").kernel(signature.NAME)
    two = metadata(arch).replace("</kernel>", '<instance name="b"/></kernel>')
    write(tmp_path / "d.xclbin", "p", bytes(16), two, [], [], [])
    with pytest.raises(ConfigError, match="has 2 kernels called flightllm"):
        Xclbin.read(tmp_path / "d.xclbin").kernel(signature.NAME)


def test_damage_is_an_error_of_ours(tmp_path):
    whole = make_xclbin(tmp_path / "c.xclbin", arch_of()).read_bytes()
    path = tmp_path / "d.xclbin"
    for size in (0, 7, 8, 300, 400, 600, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError, match="not a complete xclbin"):
            Xclbin.read(path)
    rng = random.Random(1)
    for _ in range(300):
        bad = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        path.write_bytes(bad)
        try:
            Xclbin.read(path).kernel(signature.NAME)
        except FlightError as error:
            assert error.do
