"""Generated Tcl, run by a real interpreter with the vendor's commands stubbed (vendor.tcl): every command, option, pin, property and object that
is not known there ends the script.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest
from vendor_tools import _TKINTER, VENDOR, prop, run_tcl

from flightllm.config.board import load_board
from flightllm.config.paths import data_dir
from flightllm.kernel import signature
from flightllm.project.write import write_project

FLOWS = ["u280", "u50", "u55c", "vhk158", "kv260"]
CELL = "level0_i/ulp/flightllm_1/inst/i_top"


def copy_of(folder, tmp_path):
    """A copy of a project that may be changed and built in."""
    return shutil.copytree(folder, tmp_path / "copy")


def design(folder, tmp_path, **environment):
    """Run the block design of a project, with the kernel's IP where the step before leaves it."""
    copy = copy_of(folder, tmp_path)
    (copy / "build" / "ip").mkdir(parents=True)
    (copy / "build" / "hls").mkdir()
    return run_tcl(
        copy / "scripts" / "design.tcl", tmp_path, "3", FAKE_KERNEL=str(copy / "rtl" / "flightllm.v"), **environment
    )


@pytest.mark.parametrize("board", FLOWS)
def test_kernel_is_packaged(project, tmp_path, board):
    copy = copy_of(project(board), tmp_path)
    run = run_tcl(copy / "scripts" / "package_kernel.tcl", tmp_path)
    assert run.error == ""
    target = load_board(board)
    arguments = signature.arguments(target.arch)
    ports = [signature.CONTROL_PORT, *(a.port for a in arguments if a.port)]
    associated = run.of("ipx::associate_bus_interfaces")
    assert [words[1] for words in associated if words[0] == "-busif"] == ports
    assert ["-clock", "ap_clk", "-reset", "ap_rst_n", "core"] in associated
    registers = [words[0] for words in run.of("ipx::add_register")]
    assert registers == ["CTRL", "GIER", "IP_IER", "IP_ISR", *(a.name for a in arguments)]
    offsets = [int(text, 16) for text in prop(run, "address_offset")]
    assert offsets == [0, 4, 8, 12, *(a.address for a in arguments)]
    assert [int(text) for text in prop(run, "size")][4:] == [a.bits for a in arguments]
    assert prop(run, "value") == ports[1:]
    assert prop(run, "range") == [str(signature.CONTROL_BYTES)]
    objects = run.of("package_xo")
    if target.flow == "vitis":
        assert prop(run, "sdx_kernel") == ["true"] and prop(run, "sdx_kernel_type") == ["rtl"]
        ((xo, name),) = [(w[w.index("-xo_path") + 1], w[w.index("-kernel_name") + 1]) for w in objects]
        assert xo == str(copy / "build" / "flightllm.xo") and name == "flightllm"
    else:
        assert objects == [] and prop(run, "sdx_kernel") == []


def test_the_files_read_are_those_of_the_project(project, tmp_path):
    """All of them, and packages before their users."""
    copy = copy_of(project("u280"), tmp_path)
    run = run_tcl(copy / "scripts" / "package_kernel.tcl", tmp_path)
    ((_, files),) = run.of("add_files")
    names = [path.rpartition("/")[2] for path in files.split()]
    assert sorted(names) == sorted(p.name for p in (copy / "rtl").iterdir())
    assert names.index("flightllm_config_pkg.sv") < names.index("flightllm_top.sv")
    assert names[-1] == "flightllm.v"
    assert "DSP48E2.sv" not in names


def test_block_design_of_the_versal_board(project, tmp_path):
    run = design(project("vhk158"), tmp_path)
    assert run.error == ""
    board = load_board("vhk158")
    ports = signature.ports(board.arch)
    buses = Counter(words[1] for words in run.of("connect_bd_intf_net"))
    # two ports of the network for each port of the kernel, each once
    network = [f"axi_noc_0/HBM{i:02d}_AXI" for i in range(2 * ports)]
    assert [buses[name] for name in network] == [1] * len(network)
    assert [w for w in run.of("connect_bd_intf_net") if w[0].startswith("flightllm_1/")] == [
        [f"flightllm_1/m_axi_gmem{p}", f"parts{p}/s_axi"] for p in range(ports)
    ]
    targets = [
        words[1].split()[0]
        for words in run.of("set_property")
        if words[0] == "CONFIG.CONNECTIONS" and "/HBM" in words[2]
    ]
    assert targets == [f"HBM{i // 4}_PORT{i % 4}" for i in range(2 * ports)]
    assigned = [w for w in run.of("assign_bd_address") if "-target_address_space" in w]
    at = {
        w[w.index("-target_address_space") + 1]: int(w[w.index("-offset") + 1], 0) for w in assigned if "-offset" in w
    }
    for p in range(ports):
        base = board.build.hbm_address + p * board.memory.channel_bytes
        # both parts see the pseudo-channel at one address; axi_parts puts them into its two halves
        spaces = (f"space:flightllm_1/m_axi_gmem{p}", f"space:parts{p}/m0_axi", f"space:parts{p}/m1_axi")
        assert [at[space] for space in spaces] == [base] * 3
    told = json.loads((project("vhk158") / "flightllm.pdi.json").read_text())
    assert [m["address"] for m in told["memory"]] == [
        board.build.hbm_address + p * board.memory.channel_bytes for p in range(ports)
    ]
    assert told["parts"] == 2
    half = board.memory.channel_bytes // 2
    assert all(m["bases"] == [m["address"], m["address"] + half] for m in told["memory"])
    wrapper = (project("vhk158") / "rtl" / "axi_parts0_ip.v").read_text()
    assert f".Bases    ({{64'h{half:X}, 64'h0}})" in wrapper and ".RangeBits(30)" in wrapper
    assert run.of("launch_runs") == [["impl_1", "-to_step", "write_device_image", "-jobs", "3"]]
    assert (tmp_path / "copy" / "build" / "flightllm.pdi").is_file()


def test_a_narrow_kernel_is_not_split(project, tmp_path):
    run = design(project("vhk158", port_bits=256, channels=4), tmp_path)
    assert run.error == ""
    assert ["flightllm_1/m_axi_gmem3", "axi_noc_0/HBM03_AXI"] in run.of("connect_bd_intf_net")
    targets = [w[1].split()[0] for w in run.of("set_property") if w[0] == "CONFIG.CONNECTIONS" and "/HBM" in w[2]]
    assert targets == ["HBM0_PORT0", "HBM0_PORT2", "HBM1_PORT0", "HBM1_PORT2"]  # a pseudo-channel each
    assert not list((tmp_path / "copy" / "rtl").glob("axi_parts*"))


def test_block_design_of_the_zynq_board(project, tmp_path):
    run = design(project("kv260"), tmp_path)
    assert run.error == ""
    assert prop(run, "board_part") == ["xilinx.com:kv260_som:part0:1.4"]
    assert prop(run, "board_connections") != []
    joined = run.of("connect_bd_intf_net")
    assert ["flightllm_1/m_axi_gmem0", "parts0/s_axi"] in joined
    for h in range(4):
        assert [f"parts0/m{h}_axi", f"memory{h}/S00_AXI"] in joined
        assert [f"memory{h}/M00_AXI", f"ps/S_AXI_HP{h}_FPD"] in joined
    spaces = Counter(w[w.index("-target_address_space") + 1] for w in run.of("assign_bd_address"))
    assert spaces == {"space:ps": 1, "space:flightllm_1/m_axi_gmem0": 1} | {
        f"space:parts0/m{h}_axi": 2 for h in range(4)
    }
    board = load_board("kv260")
    told = json.loads((project("kv260") / "flightllm.bit.json").read_text())
    (memory,) = told["memory"]
    assert (told["parts"], memory["address"], memory["bases"]) == (4, 0, list(board.build.part_addresses))
    wrapper = (project("kv260") / "rtl" / "axi_parts0_ip.v").read_text()
    bases = ", ".join(f"64'h{base:X}" for base in reversed(board.build.part_addresses))  # element 0 comes last
    assert f".Bases    ({{{bases}}})" in wrapper
    assert 2 ** int(re.search(r"RangeBits\((\d+)\)", wrapper)[1]) >= board.memory.channel_bytes
    assert run.of("launch_runs") == [["impl_1", "-to_step", "write_bitstream", "-jobs", "3"]]
    assert (tmp_path / "copy" / "build" / "flightllm.bit").is_file()
    assert run.of("write_hw_platform")
    assert (tmp_path / "copy" / "build" / "flightllm.hwh").is_file()


def test_a_narrow_kernel_takes_one_port_of_the_zynq_board(project, tmp_path):
    run = design(project("kv260", port_bits=128), tmp_path)
    assert run.error == ""
    assert ["flightllm_1/m_axi_gmem0", "memory0/S00_AXI"] in run.of("connect_bd_intf_net")
    assert prop(run, "CONFIG.NUM_SI", "memory1") == []
    (memory,) = json.loads((tmp_path / "copy" / "flightllm.bit.json").read_text())["memory"]
    assert (memory["tag"], memory["address"], memory["bases"]) == ("S_AXI_HP0_FPD", None, [])


def test_ports_with_other_bases_have_other_wrappers(tmp_path):
    """A board of two channels, two ports each: parts lie where its file says."""
    text = (data_dir("boards") / "kv260.toml").read_text()
    for old, new in (
        ("channels = 1 #", "channels = 2 #"),
        ("\nchannels = 1\n", "\nchannels = 2\n"),
        ("ports_per_channel = 4", "ports_per_channel = 2"),
        ("port_bits = 512", "port_bits = 256"),
        ("channel_bytes = 3758096384", "channel_bytes = 1879048192"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "two.toml").write_text(text)
    write_project(board=str(tmp_path / "two.toml"), output=tmp_path / "out")
    run = design(tmp_path / "out", tmp_path)
    assert run.error == ""
    cells = {w[w.index("-reference") + 1]: w[-1] for w in run.of("create_bd_cell") if "-reference" in w}
    assert cells == {"axi_parts0_ip": "parts0", "axi_parts1_ip": "parts1"}
    assert "64'h48000000, 64'h10000000}" in (tmp_path / "out" / "rtl" / "axi_parts0_ip.v").read_text()
    assert "64'h838000000, 64'h800000000}" in (tmp_path / "out" / "rtl" / "axi_parts1_ip.v").read_text()
    assert ["parts1/m1_axi", "memory3/S00_AXI"] in run.of("connect_bd_intf_net")


@pytest.mark.parametrize("board", ["vhk158", "kv260"])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("wire reset/peripheral_aresetn flightllm_1/ap_rst_n", "", "pin flightllm_1/ap_rst_n is not connected"),
        ("control/M00_AXI flightllm_1/s_axi_control", "control/M00_AXI flightllm_1/s_axi_ctrl", "not found"),
        ("connect_bd_net", "connect_bd_nets", "invalid command name"),
        ("-vlnv xilinx.com:ip:smartconnect", "-vlvn xilinx.com:ip:smartconnect", "unknown option -vlvn"),
        ("xilinx.com:ip:proc_sys_reset", "xilinx.com:ip:proc_sys_rest", "no IP"),
        ("CONFIG.NUM_SI 1 CONFIG.NUM_MI 1", "CONFIG.NUM_SI CONFIG.NUM_MI 1", "odd list"),
        ("create_bd_design flightllm_design", "create_bd_design flightllm_design {", "missing close-brace"),
        (" -jobs $jobs", " -jobs", "no value behind -jobs"),
    ],
)
def test_a_wrong_block_design_fails(project, tmp_path, board, old, new, message):
    copy = shutil.copytree(project(board), tmp_path / "wrong")
    script = copy / "scripts" / "design.tcl"
    text = script.read_text()
    assert old in text
    script.write_text(text.replace(old, new, 1))
    run = design(copy, tmp_path)
    assert message in run.error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2 parts0/m2_axi HP2", "2 parts0/m1_axi HP2", "connected twice"),
        ("2 parts0/m2_axi HP2 GP4", "2 parts0/m2_axi HP2 GP5", "not found in the block design: segment HP2_DDR_LOW"),
        ("axi_parts0_ip 0x0", "axi_parts1_ip 0x0", "no source of module axi_parts1_ip"),
        ("-range 0x100000000", "-range 0xE0000000", "no power of two"),
        ("[space $user]", "[space parts0/m0_axi]", "parts0/m1_axi reaches no memory"),
        ("bus flightllm_1/$interface parts$number/s_axi", "", "not connected"),
    ],
)
def test_wrong_parts_of_a_zynq_design_fail(project, tmp_path, old, new, message):
    copy = shutil.copytree(project("kv260"), tmp_path / "wrong")
    script = copy / "scripts" / "design.tcl"
    text = script.read_text()
    assert old in text
    script.write_text(text.replace(old, new, 1))
    assert message in design(copy, tmp_path).error


def test_what_stands_twice_or_overlaps_fails(project, tmp_path):
    copy = shutil.copytree(project("vhk158"), tmp_path / "wrong")
    script = copy / "scripts" / "design.tcl"
    text = script.read_text()
    script.write_text(text.replace("HBM01_AXI HBM0_PORT1 HBM0_PC0", "HBM00_AXI HBM0_PORT1 HBM0_PC0"))
    assert "connected twice" in design(copy, tmp_path).error
    shutil.rmtree(tmp_path / "copy")
    script.write_text(text.replace("HBM01_AXI HBM0_PORT1 HBM0_PC0", "HBM01_AXI HBM0_PORT1 HBM0_PC1"))
    assert "not found in the block design: segment HBM01_AXI/HBM0_PC1" in design(copy, tmp_path).error


@pytest.mark.parametrize("board", ["vhk158", "kv260"])
def test_an_implementation_that_fails_or_misses_its_clock_makes_no_image(project, tmp_path, board):
    assert "implementation failed" in design(project(board), tmp_path, FAKE_FAIL="1").error
    shutil.rmtree(tmp_path / "copy")
    assert "misses its clock by -0.2 ns" in design(project(board), tmp_path, FAKE_SLACK="-0.2").error
    assert not list((tmp_path / "copy" / "build").glob("flightllm.*"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-busif $port", "-busi $port", "unknown option"),
        ("list s_axi_control", "list s_axi_ctrl", "no AXI interface was found"),
        ("rtl/flightllm_top.sv", "rtl/flightllm_tip.sv", "no file"),
        ("set_property sdx_kernel true", "set_property sdx_kernels true", "has no property"),
        ("add_register $block ntok", "add_register $block pos", "twice"),
        ("kernel.xml]", "kernels.xml]", "package_xo -kernel_xml: no"),
    ],
)
def test_a_wrong_packaging_fails(project, tmp_path, old, new, message):
    copy = copy_of(project("u280"), tmp_path)
    script = copy / "scripts" / "package_kernel.tcl"
    text = script.read_text()
    assert old in text
    script.write_text(text.replace(old, new, 1))
    assert message in run_tcl(script, tmp_path).error


def words_of(text: str) -> list[str]:
    """A Tcl list of names with brackets."""
    return text.replace("{", "").replace("}", "").split()


def cells(*names: str) -> str:
    return " ".join(f"{CELL}/{name}" for name in names)


def test_floorplan_of_a_core_larger_than_an_slr(project, tmp_path):
    """Its memory ports stay at the memory; the platform's pblocks are used if they are there."""
    script = project("u280") / "scripts" / "floorplan.tcl"
    there = cells(
        "i_control", "i_exchange", "gen_core[0].i_core/gen_channel[31].i_reader", "gen_core[0].i_core/gen_channel[0].i_writer",
        "gen_core[0].i_core/i_matrix", "gen_core[0].i_core/gen_channel[0].i_writer/i_fifo",
    )  # fmt: skip
    run = run_tcl(script, tmp_path, FAKE_CELLS=there, FAKE_PBLOCKS="pblock_dynamic_SLR0 other")
    assert run.error == ""
    ((pblock, bound),) = run.of("add_cells_to_pblock")
    assert pblock == "pblock_dynamic_SLR0" and not run.of("create_pblock")
    assert sorted(words_of(bound)) == sorted(there.split()[:4])
    run = run_tcl(script, tmp_path, FAKE_CELLS=there)
    assert run.of("resize_pblock") == [["pblock_flightllm_1_SLR0", "-add", "SLR0"]]
    assert "none of the cells" in run_tcl(script, tmp_path, FAKE_CELLS="a b").error


def test_floorplan_of_cores_that_fit_one(project, tmp_path):
    """A core to each SLR, the first where the memory is."""
    small = {
        "cores": 3,
        "channels": 2,
        "vpus": 4,
        "lanes": 4,
        "vb_elements": 262144,
        "ab_windows": 8192,
        "w_ring_bytes": 65536,
    }
    folder = project("u280", **small)
    there = cells("i_control", "i_exchange", *(f"gen_core[{k}].i_core" for k in range(3)))
    run = run_tcl(folder / "scripts" / "floorplan.tcl", tmp_path, FAKE_CELLS=there)
    assert run.error == ""
    bound = {words[0].rpartition("_")[2]: words[1] for words in run.of("add_cells_to_pblock")}
    assert {slr: [name.rpartition("/")[2] for name in words_of(names)] for slr, names in bound.items()} == {
        "SLR0": ["i_control", "i_exchange", "gen_core[0].i_core"],
        "SLR1": ["gen_core[1].i_core"],
        "SLR2": ["gen_core[2].i_core"],
    }


def test_names_of_the_floorplan_are_instances_of_the_rtl(project):
    """What the patterns ask for is there in the sources: a renamed instance must not go unnoticed."""
    folder = project("u280")
    top, core = ((folder / "rtl" / f"flightllm_{name}.sv").read_text() for name in ("top", "core"))
    assert all(f" {name} (" in top for name in ("i_control", "i_exchange", "i_core"))
    assert ": gen_core" in top and ": gen_channel" in core
    assert all(f" {name} (" in core for name in ("i_reader", "i_writer"))
    assert " i_top (" in (folder / "rtl" / "flightllm.v").read_text()


def test_the_interpreter_of_tkinter_will_do(project, tmp_path):
    """The stand-in for tclsh, where there is none."""
    pytest.importorskip("_tkinter")
    copy = copy_of(project("kv260"), tmp_path)
    script, records = copy / "scripts" / "package_kernel.tcl", tmp_path / "records"

    def run():
        command = [sys.executable, "-c", _TKINTER, str(VENDOR), str(records), str(script)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "ipx::save_core" in records.read_text()
    script.write_text("no_such_command\n")
    assert run().returncode == 1
