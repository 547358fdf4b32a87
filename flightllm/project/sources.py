"""Source files of the kernel as they go into a project: relative path -> text."""

from __future__ import annotations

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.kernel import signature
from flightllm.kernel.hls_top import FILE, hls_top
from flightllm.project.axi import control_signals, memory_signals
from flightllm.project.plan import Plan
from flightllm.project.render import render
from flightllm.sim.config import NAME as CONFIG_PACKAGE
from flightllm.sim.config import config_package
from flightllm.sim.sources import rtl_sources

#: modules of rtl/ that stand for primitives of the device: the tools have their own
PRIMITIVES = ("DSP48E2",)
#: top of the HLS kernel in a project
HLS_TOP = f"hls/{FILE}"
#: modules that only some boards' designs use, beside the kernel
HALVES = ("rtl/fifo.sv", "rtl/axi_halves.sv", "rtl/axi_halves_ip.v")


def rtl_files(arch: ArchConfig) -> dict[str, str]:
    """The kernel in SystemVerilog, in the order in which the tools should read it, the wrapper `flightllm` last.

    Modules that `flightllm_top` does not instantiate are left out, and so are models of primitives.
    """
    beside = {path.removeprefix("rtl/").removesuffix(".sv") for path in HALVES} - {"fifo"}
    files = {}
    for path in rtl_sources(arch=arch):
        if path.stem not in PRIMITIVES and path.stem not in beside:
            files[f"rtl/{path.name}"] = config_package(arch) if path.name == CONFIG_PACKAGE else path.read_text()
    files[f"rtl/{signature.NAME}.v"] = wrapper(arch)
    return files


def wrapper(arch: ArchConfig) -> str:
    """The kernel's top: `flightllm_top` with one set of ports for each AXI port, under the names that Vitis HLS gives them."""
    return render(
        "flightllm.v",
        name=signature.NAME,
        control=signature.CONTROL_PORT,
        control_signals=control_signals(),
        memory_signals=memory_signals(arch.port_bits),
        ports=[signature.memory_port(p) for p in range(signature.ports(arch))],
    )


def halves_files(plan: Plan) -> dict[str, str]:
    """`axi_halves` with its wrapper in Verilog, which a block design takes as a module; nothing if the board's ports are as wide as the kernel's."""
    if plan.halves == 1:
        return {}
    rtl = {path.name: path for path in data_dir("rtl").rglob("*.sv")}
    files = {name: rtl[name.removeprefix("rtl/")].read_text() for name in HALVES if name.endswith(".sv")}
    files[HALVES[-1]] = halves_wrapper(plan.arch.port_bits, plan.board.memory.channel_bytes)
    return files


def halves_wrapper(port_bits: int, channel_bytes: int) -> str:
    """`axi_halves` for ports of so many bits in front of so many bytes, under AXI's signal names."""
    return render(
        "axi_halves_ip.v",
        port_bits=port_bits,
        range_bits=channel_bytes.bit_length() - 1,
        subordinate=memory_signals(port_bits),
        managers=memory_signals(port_bits // 2, id_bits=1),
    )


def hls_files(arch: ArchConfig) -> dict[str, str]:
    """The kernel in C++: the top function `flightllm` of this config, and the headers that it includes."""
    files = {HLS_TOP: hls_top(arch)}
    root = data_dir("hls")
    for path in sorted((root / "include").rglob("*.h*")):
        files[f"hls/{path.relative_to(root).as_posix()}"] = path.read_text()
    return files
