"""The HLS kernel for one architecture config: its only file that depends on it, `flightllm_top.cpp`."""

from __future__ import annotations

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.config.templates import environment
from flightllm.kernel import control_map as cm
from flightllm.kernel import signature
from flightllm.kernel.parameters import build_digest, parameters

#: name of the generated file
FILE = "flightllm_top.cpp"


def build_word(arch: ArchConfig) -> int:
    """Contents of the BUILD register."""
    return arch.cores | arch.channels << 8 | arch.vpus << 16 | arch.lanes << 24


def hls_top(arch: ArchConfig) -> str:
    """Text of the file; depends on the config's values only.

    Raises:
        ConfigError: more ports than the register map has room for.
    """
    env = environment(data_dir("templates"))
    arguments = signature.arguments(arch)
    return env.get_template(f"{FILE}.j2").render(
        name=signature.NAME,
        arguments=arguments,
        inputs=[a for a in arguments if not a.output and not a.port],
        memories=[a for a in arguments if a.port],
        parameters=parameters(arch),
        digest=build_digest(arch),
        build=build_word(arch),
        flavour=cm.FLAVOURS.index("hls"),
        cores=arch.cores,
        channels=arch.channels,
    )
