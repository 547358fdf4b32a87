"""Every module of rtl/ has a testbench, every bench named is there and names its module, and docs/rtl.md shows the list."""

from __future__ import annotations

import pytest
from benches import BENCHES, DOC, HERE, INSIDE, checks, document, modules


def test_every_module_has_a_bench():
    known = set(BENCHES) | set(INSIDE)
    assert not set(BENCHES) & set(INSIDE)
    without = {name: str(path) for name, path in modules().items() if name not in known}
    assert not without, f"modules without a testbench (add one, and a line in tests/rtl/benches.py): {without}"
    assert not known - set(modules()), "benches.py names modules that are gone"


@pytest.mark.parametrize("module", sorted(set(BENCHES) - {"flightllm_top"}))
def test_bench_is_about_its_module(module):
    """The bench, or a wrapper beside it, names the module as a whole word; `flightllm_top` is built by the simulator."""
    path = HERE / BENCHES[module]
    texts = [path.read_text(), *(p.read_text() for p in [*path.parent.glob("*.sv"), *path.parent.glob("*_bench.py")])]
    assert any(f'"{module}"' in t or f"  {module} " in t for t in texts), f"{path} does not build {module}"
    assert checks(BENCHES[module]), f"{path} does not say what it checks"


def test_the_table_is_current():
    text = DOC.read_text()
    assert document(text) == text, "run: python tests/rtl/benches.py"
