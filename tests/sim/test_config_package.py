"""The generated SystemVerilog package says what the architecture config says."""

import re
import subprocess
from dataclasses import fields, replace

import pytest

from flightllm.config.arch import ArchConfig
from flightllm.kernel.parameters import build_digest, parameters
from flightllm.sim.config import config_package, write_config_package
from flightllm.sim.verilate import environment

ARCHS = [ArchConfig(), ArchConfig(cores=3, channels=2, vpus=12, lanes=16, port_bits=128, vb_elements=1 << 15)]


@pytest.mark.parametrize("arch", ARCHS, ids=lambda a: a.digest())
def test_values_stand_in_the_package(arch):
    found = {n: int(v) for n, v in re.findall(r"localparam int unsigned (\w+) = (\d+);", config_package(arch))}
    assert found.pop("VbWords") * 16 == arch.vb_elements
    assert found.pop("VbBanks") == 4
    snake = {re.sub(r"(?<!^)([A-Z])", r"_\1", n).lower(): v for n, v in found.items()}
    same = {f.name for f in fields(arch)} & snake.keys()
    assert {n: getattr(arch, n) for n in same} == snake
    # what the RTL does not see: how large memory is and how fast the clock; vb_elements is in VbWords
    assert {f.name for f in fields(arch)} - same == {"channel_bytes", "vb_elements", "clock_mhz"}


def test_package_is_written_once_and_accepted(tmp_path):
    path = write_config_package(ARCHS[1], tmp_path)
    before = path.stat().st_mtime_ns
    assert write_config_package(ARCHS[1], tmp_path).stat().st_mtime_ns == before
    assert len(list(tmp_path.iterdir())) == 1
    path.write_text("damaged")
    assert write_config_package(ARCHS[1], tmp_path).read_text() == config_package(ARCHS[1])
    command = ["verilator", "--lint-only", "-Wall", str(path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(parameters(ARCHS[1])) == 15


def test_digest_names_what_the_kernel_is_built_for():
    arch = ARCHS[0]
    assert f"Digest = 64'h{build_digest(arch):016x}" in config_package(arch)
    assert build_digest(replace(arch, clock_mhz=100.0, channel_bytes=1 << 30)) == build_digest(arch)
    other = [replace(arch, cores=2), replace(arch, acc_entries=256), replace(arch, vb_elements=1 << 16)]
    assert len({build_digest(a) for a in [arch, *other]}) == 4
