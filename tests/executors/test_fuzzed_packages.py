"""Damaged packages: whatever bytes change, opening and running ends in a result or in a FlightError, soon and in bounded memory."""

import shutil

import numpy as np
import pytest
from graphs import decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import build, small_arch

from flightllm.errors import FlightError, PackageError, ProgramError
from flightllm.executors.functional import FunctionalDevice
from flightllm.isa import assemble, encode_program
from flightllm.package import Package

ARCH = small_arch(channels=2, vb_elements=32 << 10, ab_windows=8 << 10, max_chunk=8)
IDS = np.random.default_rng(0).integers(0, 70, 8).tolist()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    build(decoder(layers=1, context=128), folder / "p.flpkg", ARCH)
    return folder / "p.flpkg"


def run(path, verify=False):
    device = FunctionalDevice(cache_bytes=1 << 28)
    device.load(Package.open(path, verify=verify))
    device.run_chunk(IDS, 0, 2, True)


def test_the_package_itself_runs(path):
    run(path, verify=True)


@settings(max_examples=120)
@given(st.data())
def test_flipped_bits_never_crash(path, data):
    """Bits of the program, the images or the manifest."""
    name = data.draw(st.sampled_from(["program.bin", "program.bin", "core0.ch00.bin", "manifest.json"]))
    file = next(
        f for f in sorted(path.iterdir()) if f.name == name or (name.startswith("core") and f.name.startswith("core"))
    )
    old = file.read_bytes()
    raw = bytearray(old)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        file.write_bytes(raw)
        if bytes(raw) != old and file.name != "manifest.json":
            with pytest.raises(PackageError):
                Package.open(path, verify=True)
        run(path)
    except FlightError:
        pass
    finally:
        file.write_bytes(old)


@settings(max_examples=60)
@given(st.lists(st.binary(min_size=64, max_size=64), min_size=1, max_size=12))
def test_random_programs_never_crash(path, tmp_path_factory, words):
    """Legal opcodes with random operands."""
    target = tmp_path_factory.mktemp("random") / "p.flpkg"
    shutil.copytree(path, target)
    opcodes = [
        0x02,
        0x03,
        0x08,
        0x10,
        0x11,
        0x12,
        0x13,
        0x14,
        0x18,
        0x19,
        0x1A,
        0x20,
        0x21,
        0x22,
        0x23,
        0x24,
        0x28,
        0x29,
    ]
    program = b"".join(bytes([opcodes[w[0] % len(opcodes)]]) + w[1:] for w in words)
    device = FunctionalDevice()
    package = Package.open(target)
    device.load(package)
    try:
        from flightllm.isa import decode_program

        device.program = decode_program(program + bytes(64))
        device.run_chunk(IDS, 0, 1, True)
    except FlightError:
        pass
    shutil.rmtree(target)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LOOP rd=R8 count=16777215 body=2\nBARRIER\nALU op=add rd=R9 ra=R9\nBARRIER\nHALT", "does not end"),
        ("MM k=16 slots=1 dst=0x0\nHALT", "W ring is empty"),
        ("MMQK n0=1 n1=1 k=16 len=16\nHALT", "K ring is empty"),
        ("ACT src=0x0 dst=0x0 n0=65535 n1=1023 len=16777215\nHALT", "beyond VB"),
        ("ACT src=0x0 dst=0x0 n0=1 n1=1 len=16 quant=a8 ab=0xfffff\nHALT", "beyond AB"),
        ("LDV slots=1048575 rows=1 dst=0x0\nHALT", "beyond its end"),
        ("STV src=0x0 rows=1 slots=1 addr=0x0\nHALT", "constant part"),
        ("LDM nbytes=64 dst=0xffff\nHALT", "beyond MB"),
        ("LDG table=0x0 row=64 limit=1 slots=1 rows=1 dst=0x0\nHALT", "outside the table"),
        ("ALU op=add rd=R1 ra=R1", "past its end"),
    ],
)
def test_illegal_programs_are_named(path, text, message):
    device = FunctionalDevice()
    device.load(Package.open(path))
    device.program = assemble(text)
    with pytest.raises(ProgramError, match=message):
        device.run_chunk(IDS, 0, 1, True)
    assert encode_program(device.program)
