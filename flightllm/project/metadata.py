"""The JSON beside an image (`flightllm.xclbin.json`): what the kernel in it was built for, so that a host can say what differs."""

from __future__ import annotations

from typing import Any

from flightllm import __version__
from flightllm.config.board_build import Build
from flightllm.kernel import signature
from flightllm.kernel.facts import FORMAT, FORMAT_VERSION
from flightllm.kernel.parameters import build_digest, parameters
from flightllm.project.plan import UNIT, VLNV, Plan


def metadata(plan: Plan) -> dict[str, Any]:
    """The document. docs/build.md, "The JSON beside the image", says what the names mean."""
    arch, build = plan.arch, plan.build
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "flightllm": __version__,
        "board": plan.board.name,
        "part": plan.board.part,
        "platform": plan.board.platform,
        "flow": plan.board.flow,
        "tools": build.tools,
        "image": plan.image,
        "kernel": signature.NAME,
        "unit": UNIT,
        "vlnv": VLNV,
        "flavour": plan.flavour,
        "arch": arch.to_dict(),
        "parameters": {name: value for name, value, _ in parameters(arch)},
        "digest": f"{build_digest(arch):016x}",
        "clock_mhz": arch.clock_mhz,
        "control": {"port": signature.CONTROL_PORT, "bytes": signature.CONTROL_BYTES, "address": _control(build)},
        "memory": [
            {
                "port": place.port,
                "argument": f"mem{place.port}",
                "interface": signature.memory_port(place.port),
                "tag": place.tag,
                "address": place.address,
                "bases": list(place.bases),
            }
            for place in plan.places
        ],
        "channel_bytes": plan.board.memory.channel_bytes,
        "parts": plan.parts,
    }


def _control(build: Build) -> int | None:
    """Where the processors of the device see the registers; None: the driver of the card knows."""
    return getattr(build, "control_address", None)
