"""link.cfg and hls_config.cfg, read as v++ reads them: sections of `key=value`, keys may come again."""

from __future__ import annotations

import json
import re

import pytest

from flightllm.config.board import load_board
from flightllm.kernel import signature

VITIS = ["u280", "u50", "u55c"]
#: fits one SLR
SMALL = {"channels": 4, "vpus": 4, "lanes": 4, "vb_elements": 262144, "ab_windows": 8192, "w_ring_bytes": 65536}
#: options that v++ knows (UG1393, "v++ General Options", "--connectivity Options", "--vivado Options"), as far as they are used
KNOWN = {"": {"platform", "kernel_frequency", "save-temps"}, "connectivity": {"nk", "sp", "slr"}, "vivado": {"prop"}}
HLS_KNOWN = {
    "": {"part"},
    "hls": {
        "flow_target", "clock", "syn.top", "syn.file", "syn.cflags", "package.output.format", "package.output.file",
        "package.output.syn", "package.ip.vendor", "package.ip.library", "package.ip.name", "package.ip.version",
    },
}  # fmt: skip


def read(text: str, known: dict[str, set[str]]) -> dict[tuple[str, str], list[str]]:
    """(section, key) -> values. AssertionError for what v++ would not take."""
    section, found = "", {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if match := re.fullmatch(r"\[([\w.]+)\]", line):
            section = match[1]
            continue
        key, equals, value = line.partition("=")
        assert equals and value, line
        assert key in known.get(section, set()), f"[{section}] has no option {key}"
        found.setdefault((section, key), []).append(value)
    return found


def bindings(config) -> dict[str, int]:
    """Port -> channel of every sp= line. AssertionError if one is not as it should be."""
    found = {}
    for line in config["connectivity", "sp"]:
        unit, port, tag, index = re.fullmatch(r"(\w+)\.(\w+):(\w+)\[(\d+)\]", line).groups()
        assert (unit, tag) == ("flightllm_1", "HBM")
        assert port not in found, f"{port} twice"
        found[port] = int(index)
    return found


@pytest.mark.parametrize(
    ("board", "changes"),
    [
        *((b, {}) for b in VITIS),
        ("u280", {"cores": 2, "channels": 16, "vpus": 8, "vb_elements": 1048576}),
        ("u55c", SMALL),
    ],
)
def test_every_port_has_a_channel_of_its_own(project, board, changes):
    folder, target = project(board, **changes), load_board(board)
    config = read((folder / "link.cfg").read_text(), KNOWN)
    told = json.loads((folder / "flightllm.xclbin.json").read_text())
    found = bindings(config)
    ports = told["arch"]["cores"] * told["arch"]["channels"]
    assert list(found) == [signature.memory_port(p) for p in range(ports)]
    assert len(set(found.values())) == ports
    assert all(0 <= channel < target.memory.channels for channel in found.values())
    assert config["", "platform"] == [target.platform]
    assert float(config["", "kernel_frequency"][0]) == told["arch"]["clock_mhz"]
    assert config["connectivity", "nk"] == ["flightllm:1:flightllm_1"]
    # the JSON beside the image says the same
    assert {m["interface"]: m["tag"] for m in told["memory"]} == {p: f"HBM[{c}]" for p, c in found.items()}


def test_only_a_kernel_that_fits_an_slr_is_assigned_to_one(project):
    large = read((project("u280") / "link.cfg").read_text(), KNOWN)
    assert ("connectivity", "slr") not in large
    small = read((project("u280", **SMALL) / "link.cfg").read_text(), KNOWN)
    assert small["connectivity", "slr"] == ["flightllm_1:SLR0"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sp=flightllm_1.m_axi_gmem1:HBM[1]", "sp=flightllm_1.m_axi_gmem0:HBM[1]"),
        ("sp=flightllm_1.m_axi_gmem1:HBM[1]", "sp=flightllm_1.m_axi_gmem1:DDR[1]"),
        ("nk=", "nr="),
        ("[vivado]", "[vivid]"),
        ("kernel_frequency=225", "kernel_frequency"),
    ],
)
def test_the_reader_can_say_no(project, old, new):
    text = (project("u280") / "link.cfg").read_text()
    assert old in text
    with pytest.raises(AssertionError):
        bindings(read(text.replace(old, new, 1), KNOWN))


@pytest.mark.parametrize("board", [*VITIS, "vhk158", "kv260"])
def test_hls_configuration(project, board):
    folder = project(board, "hls")
    config = read((folder / "hls_config.cfg").read_text(), HLS_KNOWN)
    target = load_board(board)
    assert config["", "part"] == [target.part]
    assert config["hls", "syn.top"] == [signature.NAME]
    assert float(config["hls", "clock"][0].removesuffix("ns")) == pytest.approx(1000 / target.arch.clock_mhz, abs=1e-3)
    for path in config["hls", "syn.file"]:
        assert (folder / path).is_file()
    assert [
        (folder / flag.removeprefix("-I")).is_dir()
        for flag in config["hls", "syn.cflags"][0].split()
        if flag.startswith("-I")
    ] == [True]
    vlnv = ":".join(config["hls", f"package.ip.{key}"][0] for key in ("vendor", "library", "name", "version"))
    assert vlnv == json.loads(next(folder.glob("flightllm.*.json")).read_text())["vlnv"]
    assert config["hls", "package.output.format"] == ["xo" if target.flow == "vitis" else "ip_catalog"]
    assert not (folder / "kernel.xml").exists() and not (folder / "rtl" / "flightllm.v").exists()


def test_both_flavours_are_linked_alike(project):
    assert (project("u280") / "link.cfg").read_text() == (project("u280", "hls") / "link.cfg").read_text()
