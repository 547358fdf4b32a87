"""Files of a project, by tool flow. What differs between boards of one flow is in their board files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flightllm import __version__
from flightllm.config.board_build import VersalBuild, ZynqBuild
from flightllm.kernel import control_map, signature
from flightllm.project.metadata import metadata
from flightllm.project.plan import UNIT, VLNV, Plan
from flightllm.project.render import render
from flightllm.project.sources import HLS_TOP, hls_files, parts_files, rtl_files

#: bits of AP_CTRL, for tools that list registers: name, bit, "read-write" or "read-only"
AP_CTRL = (
    ("AP_START", 0, "read-write"),
    ("AP_DONE", 1, "read-only"),
    ("AP_IDLE", 2, "read-only"),
    ("AP_READY", 3, "read-only"),
    ("AP_CONTINUE", 4, "read-write"),
)


def project_files(plan: Plan) -> dict[str, str]:
    """Relative path -> text, for the whole project but its list of files."""
    kernel = rtl_files(plan.arch) if plan.flavour == "rtl" else hls_files(plan.arch)
    values = _values(plan)
    files = dict(kernel)
    if plan.flavour == "rtl":
        rtl = [path for path in kernel if path.startswith("rtl/")]
        files["scripts/package_kernel.tcl"] = render("package_kernel.tcl", sources=rtl, **values)
    else:
        files["hls_config.cfg"] = render("hls_config.cfg", top_file=HLS_TOP, **values)
    if plan.regions:
        files["scripts/floorplan.tcl"] = render("floorplan.tcl", **values)
    files[f"{plan.image}.json"] = json.dumps(metadata(plan), indent=1) + "\n"
    files |= _FLOWS[plan.board.flow](plan, values)
    files["README.md"] = render("README.md", files=sorted([*files, "README.md"]), **values)
    return files


def kernel_xml(plan: Plan) -> str:
    """kernel.xml of the kernel from RTL; that of the HLS kernel comes from Vitis HLS, from the same signature."""
    return render("kernel.xml", **_values(plan))


def _vitis(plan: Plan, values: dict[str, Any]) -> dict[str, str]:
    files = {"Makefile": render("vitis.mk", **values), "link.cfg": render("link.cfg", **values)}
    if plan.flavour == "rtl":
        files["kernel.xml"] = kernel_xml(plan)
    return files


def _versal(plan: Plan, values: dict[str, Any]) -> dict[str, str]:
    build = plan.build
    assert isinstance(build, VersalBuild)
    # PG313: a controller has two pseudo-channels with two ports each; the network's own ports are numbered from 0 and reach any of them
    ports = [
        {
            "name": f"HBM{plan.parts * p + h:02d}_AXI",
            "target": f"HBM{p // 2}_PORT{2 * (p % 2) + h}",
            "segment": f"HBM{p // 2}_PC{p % 2}",
            "address": place.address,
            "user": _user(plan, p, h),
            "part": h,
        }
        for p, place in enumerate(plan.places)
        for h in range(plan.parts)
    ]
    mbps = round(1000 * plan.board.memory.channel_gbps / build.ports_per_channel)
    return _design("versal.tcl", plan, values, ports=ports, mbps=mbps)


def _zynq(plan: Plan, values: dict[str, Any]) -> dict[str, str]:
    build = plan.build
    assert isinstance(build, ZynqBuild)
    first = [p * build.ports_per_channel for p in range(len(plan.places))]
    ports = [
        {"name": build.memory_ports[i + h], "slot": build.memory_slots[i + h], "user": _user(plan, p, h)}
        for p, i in enumerate(first)
        for h in range(plan.parts)
    ]
    return _design("zynq.tcl", plan, values, ports=ports, part_bits=plan.arch.port_bits // plan.parts)


def _user(plan: Plan, port: int, part: int) -> str:
    """Interface of the block design that uses a memory port of the board: the kernel's, or that of what splits it."""
    return f"parts{port}/m{part}_axi" if plan.parts > 1 else f"{UNIT}/{signature.memory_port(port)}"


def _design(template: str, plan: Plan, values: dict[str, Any], **more: Any) -> dict[str, str]:
    """A block design, what makes it, and modules that it has beside the kernel."""
    extra = parts_files(plan)
    design = render(template, extra=list(extra), **more, **values)
    return extra | {"Makefile": render("vivado.mk", **values), "scripts/design.tcl": design}


_FLOWS: dict[str, Callable[[Plan, dict[str, Any]], dict[str, str]]] = {
    "vitis": _vitis,
    "versal": _versal,
    "zynq": _zynq,
}


def _values(plan: Plan) -> dict[str, Any]:
    """What all templates may use."""
    arch = plan.arch
    return {
        "plan": plan,
        "board": plan.board,
        "build": plan.build,
        "arch": arch,
        "flow": plan.board.flow,
        "flavour": plan.flavour,
        "name": signature.NAME,
        "unit": UNIT,
        "vlnv": VLNV,
        "version": __version__,
        "image": plan.image,
        "control": signature.CONTROL_PORT,
        "control_bytes": signature.CONTROL_BYTES,
        "arguments": signature.arguments(arch),
        "memory_ports": [signature.memory_port(p) for p in range(signature.ports(arch))],
        "fixed_registers": [r for r in control_map.REGISTERS if r not in control_map.ARGUMENTS],
        "ap_ctrl": AP_CTRL,
        "clock_ns": f"{1000 / arch.clock_mhz:.3f}",
    }
