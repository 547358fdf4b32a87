"""`flightllm build`: what is written for each board, whole or absent, and what is refused."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace

import pytest

import flightllm as package_api
from flightllm.config.board import load_board
from flightllm.config.paths import data_dir
from flightllm.errors import ConfigError, FitError, FlightError, ToolError
from flightllm.kernel.parameters import build_digest
from flightllm.project.folder import MARKER
from flightllm.project.metadata import FORMAT
from flightllm.project.plan import make_plan
from flightllm.project.write import write_project

ALL = {"u280": "xclbin", "u50": "xclbin", "u55c": "xclbin", "vhk158": "pdi", "kv260": "bit"}


def files_of(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("board", ALL)
def test_a_project_for_every_board(project, board):
    folder = project(board)
    names = files_of(folder)
    assert json.loads((folder / MARKER).read_text())["files"] == names
    image = f"flightllm.{ALL[board]}"
    assert {"Makefile", "README.md", f"{image}.json", "rtl/flightllm.v", "rtl/flightllm_config_pkg.sv"} <= set(names)
    assert "scripts/package_kernel.tcl" in names
    told, target = json.loads((folder / f"{image}.json").read_text()), load_board(board)
    assert (told["format"], told["board"], told["image"], told["flavour"]) == (FORMAT, board, image, "rtl")
    assert told["arch"] == target.arch.to_dict()
    assert int(told["digest"], 16) == build_digest(target.arch)
    assert f"Digest = 64'h{told['digest']}" in (folder / "rtl" / "flightllm_config_pkg.sv").read_text().lower().replace(
        "digest", "Digest"
    )
    assert len(told["memory"]) == target.arch.cores * target.arch.channels
    readme = (folder / "README.md").read_text()
    assert target.build.tools in readme and "not been run through the vendor's tools" in readme
    for name in names:
        assert any(f"`{part}`" in readme for part in (name, name.partition("/")[0] + "/")) or name == MARKER, name
        assert "{{" not in (folder / name).read_text() or name.startswith("rtl/"), (
            f"{name}: a template was not filled in"
        )


def test_same_config_same_bytes(project, tmp_path):
    write_project(board="u280", output=tmp_path / "again")
    first = project("u280")
    assert files_of(first) == files_of(tmp_path / "again")
    assert all((first / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files_of(first))


def test_boards_differ_by_their_files_only(tmp_path):
    """A card that nobody has heard of is one more board file."""
    text = (data_dir("boards") / "u55c.toml").read_text()
    for old, new in (("u55c", "mine"), ('"HBM" #', '"PC" #'), ("xilinx_mine", "acme_mine")):
        assert old in text or new in text
        text = text.replace(old, new)
    (tmp_path / "mine.toml").write_text(text)
    write_project(board=str(tmp_path / "mine.toml"), output=tmp_path / "out")
    link = (tmp_path / "out" / "link.cfg").read_text()
    assert "sp=flightllm_1.m_axi_gmem31:PC[31]" in link and "platform=acme_mine" in link


def test_of_a_package_its_config_is_built(tmp_path):
    path = tmp_path / "model.flpkg"
    package_api.compile("tiny-austen", path, board="u280", arch={"channels": 4, "vpus": 8}, max_context=64)
    project = package_api.write_project(path, tmp_path / "out")
    assert project.plan.board.name == "u280" and project.plan.arch == package_api.inspect(path).manifest.arch
    told = json.loads((tmp_path / "out" / "flightllm.xclbin.json").read_text())
    assert int(told["digest"], 16) == build_digest(project.plan.arch)
    with pytest.raises(ConfigError, match="parameters of a package's config cannot be changed"):
        package_api.write_project(path, tmp_path / "out2", arch={"vpus": 12})
    with pytest.raises(FitError):  # a U280's clock and ports on another board
        package_api.write_project(path, tmp_path / "out2", board="kv260")
    assert not (tmp_path / "out2").exists()


def test_whole_or_absent(tmp_path, monkeypatch):
    target = tmp_path / "out"
    write_project(board="kv260", output=target)
    before = {name: (target / name).read_bytes() for name in files_of(target)}
    with pytest.raises(ToolError, match="exists already"):
        write_project(board="kv260", output=target)
    # ends in the middle: the old one stays, and nothing else
    calls = []

    def full(self, *args, **kwargs):
        calls.append(self)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        return original(self, *args, **kwargs)

    original = type(target).write_text
    monkeypatch.setattr(type(target), "write_text", full)
    with pytest.raises(ToolError, match="No space left"):
        write_project(board="kv260", output=target, arch={"vpus": 8}, force=True)
    with pytest.raises(ToolError, match="No space left"):
        write_project(board="kv260", output=tmp_path / "new")
    monkeypatch.undo()
    assert {name: (target / name).read_bytes() for name in files_of(target)} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    write_project(board="kv260", output=target, arch={"vpus": 8}, force=True)
    assert json.loads((target / "flightllm.bit.json").read_text())["arch"]["vpus"] == 8


def test_hours_of_the_tools_are_not_thrown_away(tmp_path):
    target = tmp_path / "out"
    write_project(board="u280", output=target)
    (target / "build" / "hw").mkdir(parents=True)
    (target / "build" / "hw" / "flightllm.xclbin").write_text("hours")
    with pytest.raises(ToolError, match="files that `flightllm build` has not written") as error:
        write_project(board="u280", output=target, force=True)
    assert "flightllm.xclbin" in error.value.why and "make clean" in error.value.do
    assert (target / "build" / "hw" / "flightllm.xclbin").read_text() == "hours"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_project_is_never_replaced(tmp_path, kind):
    target = tmp_path / "mine"
    target.mkdir() if kind == "folder" else target.write_text("mine")
    with pytest.raises(ToolError, match="not a project"):
        write_project(board="u280", output=target, force=True)
    with pytest.raises(ToolError, match="does not exist"):
        write_project(board="u280", output=tmp_path / "no" / "such")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"board": "tiny"}, ConfigError, "nothing can be built for tiny"),
        ({"board": "u281"}, ConfigError, "there is no board"),
        ({}, ConfigError, "no board was named"),
        ({"board": "u280", "arch": {"cores": 2}}, FitError, "does not fit u280"),
        ({"board": "u280", "arch": {"clock_mhz": 400}}, FitError, "does not fit u280"),
        ({"board": "kv260", "arch": {"port_bits": 256, "channels": 1}}, FitError, "4 ports of 128 bits"),
        ({"board": "u280", "flavour": "vhdl"}, ConfigError, "no kernel 'vhdl'"),
        ({"board": "u280", "arch": {"vpu": 4}}, ConfigError, "unknown parameter vpu"),
    ],
)
def test_refused_with_reason_and_advice(tmp_path, options, kind, message):
    with pytest.raises(kind, match=message) as error:
        write_project(output=tmp_path / "out", **options)
    assert error.value.do
    assert list(tmp_path.iterdir()) == []


def test_more_ports_than_the_board_has():
    board = load_board("u280")
    with pytest.raises(FitError) as error:
        make_plan(board, replace(board.arch, cores=2, channels=32, vpus=4))
    assert "memory channels" in error.value.why and "<- too much" in error.value.why


def test_logic_that_is_only_estimated_is_a_warning(project, flightllm, tmp_path):
    result = flightllm("build", "--board", "kv260", "--set", "vpus=16", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "warning: LUT (estimate): needs 1" in result.stdout
    assert "**Beware**: LUT (estimate): needs 1" in (tmp_path / "out" / "README.md").read_text()


def test_kernel_from_hls(project):
    """The top of the config, and every header that is included, by the include folder of the configuration."""
    folder = project("u280", "hls")
    names = files_of(folder)
    assert {"hls/flightllm_top.cpp", "hls_config.cfg", "link.cfg", "Makefile"} <= set(names)
    assert not [name for name in names if name.startswith(("rtl/", "scripts/")) or "native" in name]
    assert "a kernel from HLS takes more" in (folder / "README.md").read_text()
    for path in (folder / "hls").rglob("*.?pp"):
        for name in re.findall(
            r'#include "(.*?)"', re.sub(r"#ifndef __SYNTHESIS__.*?#endif", "", path.read_text(), flags=re.DOTALL)
        ):
            assert (folder / "hls" / "include" / name).is_file() or (path.parent / name).is_file(), (path, name)
    assert json.loads((folder / "flightllm.xclbin.json").read_text())["flavour"] == "hls"
    assert "from HLS" in (folder / "README.md").read_text()


def test_command_line(flightllm, tmp_path):
    out = tmp_path / "out"
    result = flightllm("build", "--board", "u280", "--set", "vpus=8", "-o", out)
    assert result.exit_code == 0, result.output
    assert (
        f"{len(files_of(out))} files" in result.stdout
        and "make xclbin TARGET=hw" in result.stdout
        and "HBM[31]" in result.stdout
    )
    told = json.loads(flightllm("build", "--board", "u280", "--set", "vpus=8", "-o", out, "--force", "--json").stdout)
    assert told["build"]["arch"]["vpus"] == 8 and told["files"] == files_of(out)
    again = flightllm("build", "--board", "u280", "-o", out)
    assert again.exit_code == 1 and "exists already" in again.stderr
    config = tmp_path / "small.toml"
    config.write_text("vpus = 4\nchannels = 16\n")
    result = flightllm("build", config, "--board", "u50", "--set", "clock_mhz=200", "-o", tmp_path / "small", "--json")
    arch = json.loads(result.stdout)["build"]["arch"]
    assert (arch["vpus"], arch["channels"], arch["clock_mhz"]) == (4, 16, 200)
    assert flightllm("build", "--from", "c", "--board", "u280").exit_code == 2
    assert flightllm("build", tmp_path / "absent.flpkg", "--board", "u280").exit_code == 1
    assert "tiny-build" not in [p.name for p in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("board", "old", "new", "message"),
    [
        ("u280", 'memory_tag = "HBM"', 'memory_tag = "H[BM"', "letters, digits"),
        ("u280", 'memory_tag = "HBM"', "memory_tag = 3", "memory_tag = 3 is not legal"),
        ("u280", 'slr_names = ["SLR0", ', "slr_names = [", "3 names, as slrs says"),
        ("u280", 'slr_names = ["SLR0", ', "slr_names = [0, ", "a list of names"),
        ("u280", "[build]", "[builds]", "a table is missing"),
        ("u280", 'tools = "2023.2"', 'tools = "2023.2"\nport_bits = 512', "unknown port_bits"),
        ("u280", 'tools = "2023.2"', "", "missing tools"),
        ("vhk158", "ports_per_channel = 2", "ports_per_channel = 3", "1 or 2"),
        ("vhk158", "hbm_address = 0x4000000000", "hbm_address = 0x4000000001", "a multiple of memory.channel_bytes"),
        ("vhk158", 'processor_memory = "DDR"', 'processor_memory = "HBM"', "DDR or LPDDR"),
        ("kv260", '["HP0", "HP1", ', '["HP0", ', "4 names: memory.channels x"),
        ("kv260", '["GP2", "GP3", ', '["GP2", ', "4 names: memory.channels x"),
        ("kv260", "ports_per_channel = 4", "ports_per_channel = 3", "1, 2 or 4"),
        ("kv260", "ports_per_channel = 4", "ports_per_channel = 0", "1, 2 or 4"),
        ("kv260", "segment_addresses = [0x0, ", "segment_addresses = [", "2 numbers, as memory_segments says"),
        ("kv260", "segment_bytes = [0x80000000, ", "segment_bytes = [", "2 numbers, as memory_segments says"),
        ("kv260", "segment_bytes = [0x80000000, ", "segment_bytes = [0x7FFFF000, ", "inside one segment"),
        ("kv260", "part_addresses = [0x10000000, ", "part_addresses = [", "4 numbers, as memory_ports says"),
        ("kv260", "part_addresses = [0x10000000, ", "part_addresses = [0x10000800, ", "a multiple of 4096"),
        ("kv260", "part_addresses = [0x10000000, ", "part_addresses = [0x10001000, ", "apart from the others"),
        ("kv260", "part_addresses = [0x10000000, ", "part_addresses = [1e9, ", "a list of whole numbers"),
        (
            "kv260",
            "part_addresses = [0x10000000, 0x48000000, ",
            "part_addresses = [0x10000000, 0x48001000, ",
            "one segment",
        ),
        ("kv260", "channel_bytes = 3758096384", "channel_bytes = 3758096448", "a multiple of 4 x 4096"),
        ("kv260", 'control_port = "HPM0"', 'control_port = "HPM0]; exit"', "letters, digits"),
        ("tiny", "[arch]", '[build]\ntools = "x"\n[arch]', "has no use"),
    ],
)
def test_damaged_tables_of_board_files(tmp_path, board, old, new, message):
    text = (data_dir("boards") / f"{board}.toml").read_text()
    assert old in text
    file = tmp_path / "damaged.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load_board(file)
    assert message in str(error.value) and str(file) in str(error.value)


def test_every_value_of_the_build_tables_is_used_and_says_its_source():
    """Each line has its source as a comment, and no flow differs by the board's name."""
    for board in ALL:
        text = (data_dir("boards") / f"{board}.toml").read_text().partition("[build]\n")[2].partition("\n[")[0]
        lines = text.strip().splitlines()
        assert len(lines) == len(tomllib.loads(text))
        # a connection needs none beside the board part's
        assert all("#" in line or line.startswith(("board_connections", "control_slot")) for line in lines), board
    for path in [
        *(data_dir("templates") / "project").iterdir(),
        *(data_dir("templates").parent / "flightllm" / "project").glob("*.py"),
    ]:
        assert not [name for name in ALL if f'"{name}"' in path.read_text()], path


@pytest.mark.parametrize("board", ALL)
def test_errors_are_flightllms(board, tmp_path):
    with pytest.raises(FlightError):
        write_project(board=board, output=tmp_path / "out", arch={"channels": 32, "cores": 4})
