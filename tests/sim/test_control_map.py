"""The register map: generated files are current, nothing overlaps."""

from itertools import pairwise
from pathlib import Path

import pytest

from flightllm.config.arch import ArchConfig
from flightllm.errors import ConfigError
from flightllm.isa.fields import TOKEN_UNITS, Unit
from flightllm.kernel import control_map as cm
from flightllm.kernel import signature

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("output", sorted(cm.OUTPUTS.values()))
def test_generated_files_are_current(output):
    text = cm.render(ROOT / "templates")[output]
    assert (ROOT / output).read_text() == text, "run: python -m flightllm.kernel.control_map"


def test_no_address_has_two_meanings():
    words: list[int] = []
    for r in cm.REGISTERS:
        words += range(r.address, r.address + r.bits // 8, 4)
    for port in range(cm.MAX_PORTS):
        words += [cm.base_address(port), cm.base_address(port) + 4]
        words += range(cm.traffic(port, False), cm.traffic(port, False) + 16, 4)
    for core in range(4):
        words += [cm.core_register(core, r.name) for r in cm.CORE_REGISTERS]
        for unit in cm.UNITS:
            for event in cm.EVENTS:
                words += [cm.counter(core, unit, event), cm.counter(core, unit, event) + 4]
    assert len(words) == len(set(words))
    assert max(words) < 1 << 16
    assert cm.counter(1, "M", "data") == 0x800 + 0x100 + 0x40 + 32 + 16


def test_arguments_leave_the_words_that_vitis_hls_keeps():
    """UG1399, "S_AXILITE Offset Option": words of the data and one more; a double at 0x20 puts the next at 0x2c."""
    assert cm.after(0x20, 64) == 0x2C
    assert cm.ADDRESS["POS"] == 0x10
    arch = ArchConfig(cores=2, channels=4)
    arguments = signature.arguments(arch)
    for one, other in pairwise(arguments):
        assert other.address == one.address + (one.bits // 8 + 4) * (2 if one.output else 1)
    # as in headers that Vitis HLS generated: 32 bits out at 0x10, the next at 0x20; 64 bits out at 0x94, the next at 0xac
    assert cm.after(0x10, 32, output=True) == 0x20 and cm.after(0x94, 64, output=True) == 0xAC
    assert [a.port for a in arguments if a.port] == [f"m_axi_gmem{p}" for p in range(8)]
    assert {a.name for a in arguments if a.output} == {"error", "build", "flavour", "digest", "cycles"}


def test_units_and_errors_agree_with_the_rtl():
    assert list(cm.UNITS[:4]) == [u.name for u in TOKEN_UNITS]
    assert set(cm.UNITS) == {u.name for u in Unit}
    isa = (ROOT / "rtl/flightllm_isa_pkg.sv").read_text()
    for i, unit in enumerate(cm.UNITS):
        assert f"Unit{unit} = 3'd{i}" in isa
    sequencer = (ROOT / "rtl/control/sequencer.sv").read_text()
    assert f"ErrHalt = 4'd{cm.ERROR_NAMES.index('Halt') + 1};" in sequencer
    assert f"ErrIllegal = 4'd{cm.ERROR_NAMES.index('Illegal') + 1};" in sequencer


def test_too_many_channels_are_refused():
    cm.check_ports(ArchConfig(cores=3, channels=32))
    with pytest.raises(ConfigError, match="128"):
        cm.check_ports(ArchConfig(cores=4, channels=32))
