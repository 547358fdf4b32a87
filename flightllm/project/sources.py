"""Source files of the kernel as they go into a project: relative path -> text."""

from __future__ import annotations

from collections.abc import Sequence

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
PARTS = ("rtl/fifo.sv", "rtl/axi_parts.sv")
#: folders of rtl/ that are no part of the kernel
BESIDE = ("board", "blackbox")


def rtl_files(arch: ArchConfig) -> dict[str, str]:
    """The kernel in SystemVerilog, in the order in which the tools should read it, the wrapper `flightllm` last.

    Modules that `flightllm_top` does not instantiate are left out, and so are models of primitives.
    """
    files = {}
    for path in rtl_sources(arch=arch):
        if path.stem not in PRIMITIVES and path.parent.name not in BESIDE:
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


def parts_files(plan: Plan) -> dict[str, str]:
    """`axi_parts`, and a wrapper of it in Verilog for each set of bases, which block designs take as modules; nothing if no port is split."""
    if not plan.wrappers:
        return {}
    rtl = {path.name: path for path in data_dir("rtl").rglob("*.sv")}
    files = {name: rtl[name.removeprefix("rtl/")].read_text() for name in PARTS}
    for bases, name in plan.wrappers.items():
        files[f"rtl/{name}.v"] = parts_wrapper(name, plan.arch.port_bits, plan.range_bits, bases)
    return files


def parts_wrapper(name: str, port_bits: int, range_bits: int, bases: Sequence[int]) -> str:
    """`axi_parts` for ports of so many bits in front of so many parts, under AXI's signal names. bases: of the parts, as the module wants them."""
    return render(
        "axi_parts_ip.v",
        name=name,
        port_bits=port_bits,
        range_bits=range_bits,
        bases=bases,
        subordinate=memory_signals(port_bits),
        managers=memory_signals(port_bits // len(bases), id_bits=1),
    )


def hls_files(arch: ArchConfig) -> dict[str, str]:
    """The kernel in C++: the top function `flightllm` of this config, and the headers that it includes."""
    files = {HLS_TOP: hls_top(arch)}
    root = data_dir("hls")
    for path in sorted((root / "include").rglob("*.h*")):
        files[f"hls/{path.relative_to(root).as_posix()}"] = path.read_text()
    return files
