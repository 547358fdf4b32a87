"""The files generated from the instruction set are current, and other tools accept them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from flightllm.isa import generate

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("output", sorted(generate.OUTPUTS.values()))
def test_generated_files_are_current(output):
    text = generate.render(ROOT / "templates")[output]
    assert (ROOT / output).read_text() == text, "run: python -m flightllm.isa.generate"


def test_cpp_header_reads_fields_that_python_encodes(tmp_path):
    """The C++ view of an encoded instruction, field by field, through the generated header."""
    from flightllm.isa.matrix import MM

    cxx = shutil.which("g++") or shutil.which("c++")
    if cxx is None:
        pytest.skip("no C++ compiler")
    inst = MM(wait=5, signal=8, **{p: (0x123456789ABCDEF >> i) % (1 << b) for i, (p, (_, b)) in enumerate(_parts(MM))})
    words = [int.from_bytes(inst.encode()[i : i + 8], "little") for i in range(0, 64, 8)]
    prints = "".join(f'  std::printf("%llu\\n", (unsigned long long)extract(w, mm::{p}));\n' for p, _ in _parts(MM))
    source = tmp_path / "t.cpp"
    source.write_text(
        '#include <cstdio>\n#include "flightllm_isa.hpp"\nusing namespace flight::isa;\nint main() {\n'
        f"  const std::uint64_t w[8] = {{{', '.join(f'{x}ull' for x in words)}}};\n"
        '  std::printf("%llu\\n%llu\\n", (unsigned long long)extract(w, kWait), (unsigned long long)extract(w, kSignal));\n'
        + prints
        + "}\n"
    )
    subprocess.run([cxx, "-std=c++17", f"-I{ROOT / 'hls/include'}", str(source), "-o", str(tmp_path / "t")], check=True)
    out = subprocess.run([str(tmp_path / "t")], check=True, capture_output=True, text=True).stdout.split()
    assert [int(x) for x in out] == [5, 8, *inst.values.values()]


def _parts(cls):
    return [(p, x) for p, x in cls.layout.items() if p not in ("opcode", "wait", "signal")]
