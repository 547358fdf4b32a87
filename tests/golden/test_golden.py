"""Golden files: a generation and a listing, kept so that a change of either is seen and meant.

`pytest tests/golden --update-golden` writes them anew.
"""

from pathlib import Path

import pytest

import flightllm
from flightllm.isa import decode_program, disassemble
from flightllm.package import Package

HERE = Path(__file__).parent
PROMPT = "It was a truth"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "p.flpkg"
    flightllm.compile("tiny-austen", path, board="tiny")
    return path


def golden(request, name, text):
    path = HERE / name
    if request.config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, (
        f"{name} changed; if it is meant: pytest tests/golden --update-golden"
    )


def test_generation(request, package):
    """The most likely continuation by the embedded model, 64 tokens: any change of a number format shows here."""
    model = flightllm.load(package)
    text = model.generate(PROMPT, max_new_tokens=64, options=flightllm.SamplingOptions(temperature=0.0))
    golden(request, "generation.txt", PROMPT + text + "\n")


def test_listing(request, package):
    opened = Package.open(package)
    sections = {int(pc): node for pc, node in opened.manifest.notes["sections"].items()}
    golden(request, "listing.txt", disassemble(opened.program, opened.manifest.symbols(), sections))


def test_program_reads_back_from_its_listing(package):
    """Assembler and disassembler on a real program."""
    from flightllm.isa import assemble, encode_program

    opened = Package.open(package)
    program = decode_program(bytes(opened.program))
    assert encode_program(assemble(disassemble(program))) == bytes(opened.program)


def test_quality_of_the_embedded_model(package):
    """Perplexity of held-out text (the beginning of Persuasion) stays within 3 % of the uncompressed model's."""
    from flightllm.api import load_graph
    from flightllm.runtime.evaluate import reference_logits

    model, text = flightllm.load(package), HERE / "persuasion.txt"
    ours = model.perplexity(text, windows=4, tokens=256).value
    theirs = model.perplexity(text, windows=4, tokens=256, logits_of=reference_logits(load_graph("tiny-austen"))).value
    assert theirs < 30
    assert 0.98 < ours / theirs < 1.03
