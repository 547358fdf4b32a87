"""The model of DSP48E2 against an arithmetic model, Yosys' DSP48E1 and (make long) the vendor's own model; mac_dsp on top."""

from __future__ import annotations

import importlib.util
import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from player import Player

from flightllm.config.paths import data_dir

HERE = Path(__file__).parent
RTL = data_dir("rtl") / "matrix"
PORTS = {
    "a_i": 30,
    "b_i": 18,
    "c_i": 48,
    "d_i": 27,
    "pcin_i": 48,
    "z_i": 3,
    "w_i": 2,
    "product_i": 1,
    "gate_i": 2,
    "ce_i": 9,
}
OUTPUTS = dict.fromkeys(("p_o", "pcout_o", "want_p_o", "want_pcout_o"), (4, 48))
ALL_CE = 0x1FF
#: choices of the W multiplexer: zero, P, RND (zero by default), C
W = (0, 1, 2, 3)
WARM_UP = 8  # cycles with all enables: every register of both models is known


def yosys(name: str) -> str:
    """A file of Yosys' Xilinx library, from the installed wheel."""
    spec = importlib.util.find_spec("pyosys")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("pyosys is not installed")
    return (Path(next(iter(spec.submodule_search_locations))) / "share" / "xilinx" / name).read_text()


def module(text: str, name: str) -> str:
    """The source of one module."""
    found = re.search(rf"^module {name}\b.*?^endmodule", text, re.S | re.M)
    assert found, name
    return found[0]


def bench(reference: str, model: str, folder: Path) -> Player:
    (folder / "model.v").write_text(model)
    sources = [RTL / "DSP48E2.sv", folder / "model.v", HERE / f"dsp_reference_{reference}.sv", HERE / "dsp_bench.sv"]
    return Player("dsp_bench", sources, PORTS, OUTPUTS)


@pytest.fixture(scope="module")
def e1(tmp_path_factory) -> Player:
    text = module(yosys("cells_sim.v"), "DSP48E1")
    return bench("e1", f"`timescale 1ps / 1ps\n{text}\n", tmp_path_factory.mktemp("e1"))


def signed(rng: np.random.Generator, bits: int, n: int) -> np.ndarray:
    """Any number of so many bits; one in eight is an end of the range, or next to it, or zero."""
    top = 1 << (bits - 1)
    x = rng.integers(-top, top, n)
    ends = np.array([-top, 1 - top, top - 1, top - 2, 0, -1, 1])
    return np.where(rng.random(n) < 0.125, rng.choice(ends, n), x)


def operands(n: int, seed: int, wide: int, enables: bool, w: tuple[int, ...] = (0,)) -> dict[str, np.ndarray]:
    """wide: bits of the pre-adder's result. A and D are one bit narrower where they are added. w: choices of the W multiplexer."""
    rng = np.random.default_rng(seed)
    ce = np.full(n, ALL_CE)
    if enables:
        ce = np.where(rng.random(n) < 0.5, ALL_CE, rng.integers(0, 1 << 9, n))
        ce[:WARM_UP] = ALL_CE
    z = rng.integers(0, 4, n)
    z[:WARM_UP] = 0
    base = rng.choice(w, n)
    base[:WARM_UP] = 0
    product = rng.random(n) < 0.8
    gate = np.where(rng.random(n) < 0.5, 2, rng.integers(0, 4, n))
    return {
        "a_i": signed(rng, wide - 1, n), "b_i": signed(rng, 18, n), "c_i": signed(rng, 48, n), "d_i": signed(rng, wide - 1, n),
        "pcin_i": signed(rng, 48, n), "z_i": z, "w_i": base, "product_i": product, "gate_i": gate, "ce_i": ce,
    }  # fmt: skip


def compare(player: Player, **inputs: np.ndarray) -> None:
    out = player.run(**inputs)
    for name in ("p", "pcout"):
        got, want = out[f"{name}_o"][WARM_UP:], out[f"want_{name}_o"][WARM_UP:]
        bad = np.argwhere(got != want)
        assert not bad.size, f"{name}: {len(bad)} of {got.size} differ, first (cycle, configuration) {bad[0]}"


@pytest.mark.parametrize("enables", [False, True])
def test_against_yosys_dsp48e1(e1, enables):
    """Pipeline registers, pre-adder, multiplier, Z multiplexer and clock enables, up to the older slice's 25 bits."""
    compare(e1, **operands(400_000, int(enables), 25, enables))


def test_against_the_manual(e1):
    """All 27 x 18 bits, against UG579's block diagram in Python: registers one after another, each with its enable."""
    n = 4000
    x = operands(n, 3, 27, True, w=W)
    got = e1.run(**x)["p_o"]
    ce = [(x["ce_i"] >> i & 1).tolist() for i in range(9)]
    a, b, c, d, pcin, z, w = (x[name].tolist() for name in ("a_i", "b_i", "c_i", "d_i", "pcin_i", "z_i", "w_i"))
    product, gate = x["product_i"].tolist(), x["gate_i"].tolist()
    for k, (areg, breg, creg, use_ad) in enumerate(
        [(1, 2, 1, True), (1, 1, 0, False), (2, 2, 1, False), (1, 2, 0, True)]
    ):
        a1 = a2 = b1 = b2 = cq = dq = ad = m = p = 0
        for t in range(n):
            if t >= WARM_UP:
                assert got[t, k] == p % 2**48, f"configuration {k}, cycle {t}"
            a1n, a2n = a[t] if ce[0][t] else a1, (a1 if areg == 2 else a[t]) if ce[1][t] else a2
            b1n, b2n = b[t] if ce[2][t] else b1, (b1 if breg == 2 else b[t]) if ce[3][t] else b2
            adn = (dq if gate[t] & 2 else 0) + (0 if gate[t] & 1 else a2) if ce[6][t] else ad
            mn = (ad if use_ad else a2) * b2 if ce[7][t] else m
            now = cq if creg else c[t]
            pn = [0, pcin[t], p, now][z[t]] + [0, p, 0, now][w[t]] + (m if product[t] else 0) if ce[8][t] else p
            cq, dq = c[t] if ce[4][t] else cq, d[t] if ce[5][t] else dq
            a1, a2, b1, b2, ad, m, p = a1n, a2n, b1n, b2n, adn, mn, pn


def test_full_width_products(e1):
    """Random operands of 27 x 18 bits with the three sources of Z that need no history."""
    x = operands(400_000, 4, 27, False)
    x["z_i"] = np.array([0, 1, 3])[x["z_i"] % 3]
    x["product_i"][:], x["gate_i"][:] = 1, 2
    got = e1.run(**x)["p_o"]
    a, b, c, d, pcin, z = (x[name] for name in ("a_i", "b_i", "c_i", "d_i", "pcin_i", "z_i"))
    # cycles from the port to the adder's output register, which is seen in the next cycle
    n = len(a)
    for k, (da, db, dc, ad) in enumerate([(4, 4, 2, True), (3, 3, 1, False), (4, 4, 2, False), (4, 4, 1, True)]):
        product = (a + d if ad else a)[WARM_UP - da : n - da] * b[WARM_UP - db : n - db]
        choice = z[WARM_UP - 1 : n - 1]
        behind = np.where(choice == 1, pcin[WARM_UP - 1 : n - 1], np.where(choice == 3, c[WARM_UP - dc : n - dc], 0))
        bad = np.flatnonzero(got[WARM_UP:, k] != (product + behind) % (1 << 48))
        assert not bad.size, f"configuration {k}: {bad.size} differ, first cycle {bad[0] + WARM_UP}"


def declarations(text: str) -> tuple[dict[str, int], dict[str, str]]:
    """(bits of ports, defaults of parameters) of a module in either style."""
    text = re.sub(r"//.*", "", text)
    found = re.findall(r"\b(?:input|output)\b(?:\s+logic)?\s*(?:\[\s*(\d+)\s*:\s*0\])?\s*(\w+)", text)
    ports = {name: int(width or 0) + 1 for width, name in found}
    return ports, dict(re.findall(r"parameter\s+(?:integer\b|\[.*?\])?\s*(\w+)\s*=\s*([^,;\s)]+)", text))


def test_ports_and_parameters_are_the_primitives():
    """Same names, widths and defaults as in Yosys' library: what an instance leaves out means the same in synthesis."""
    ports, parameters = declarations((RTL / "DSP48E2.sv").read_text())
    real_ports, real_parameters = declarations(module(yosys("cells_xtra.v"), "DSP48E2"))
    assert (len(ports), len(parameters)) == (40, 14)
    assert ports.items() <= real_ports.items(), ports.items() - real_ports.items()
    assert parameters.items() <= real_parameters.items(), parameters.items() - real_parameters.items()


@pytest.mark.long
def test_against_the_vendors_model(tmp_path):
    """FLIGHTLLM_UNISIM: DSP48E2.v of github.com/Xilinx/XilinxUnisimLibrary (Apache-2.0). All operands of 27 x 18 bits."""
    path = os.environ.get("FLIGHTLLM_UNISIM")
    if not path:
        pytest.skip("FLIGHTLLM_UNISIM is not set")
    text = Path(path).read_text().replace("module DSP48E2 ", "module VendorDsp ")
    text = text.replace("glbl.GSR", "1'b0")  # global set/reset of the simulator
    text = re.sub(r"\(\w+(\[\d+\])? [!=]== 1'bz\) (\|\||&&)", "", text)  # what open inputs stand for: none is
    text = re.sub(r"#1\b;?", "", text)  # delays that order what happens in one instant
    player = bench("vendor", text, tmp_path)
    for enables in (False, True):
        compare(player, **operands(2_000_000, int(enables), 27, enables, w=W))


@cache
def mac() -> Player:
    ports = {"ce_i": 1, "a_i": 8, "b_i": 8, "weight_i": 8, "cut_i": 1, "pcin_i": 48}
    return Player(
        "mac_dsp", [RTL / "DSP48E2.sv", RTL / "dsp_slice.sv", RTL / "mac_dsp.sv"], ports, {"p_o": 48, "pcout_o": 48}
    )


def test_mac_all_weights_with_all_activations():
    """Every (a, weight) with random b and every (b, weight) with random a, cut and cascaded."""
    rng = np.random.default_rng(0)
    pairs = np.arange(1 << 16)
    one, weight = np.tile(pairs % 256 - 128, 2), np.tile(pairs // 256 - 128, 2)
    other = rng.integers(-128, 128, len(one))
    swap = np.arange(len(one)) >= 1 << 16
    a, b = np.where(swap, one, other), np.where(swap, other, one)
    cut, pcin = rng.integers(0, 2, len(one)), signed(rng, 48, len(one))
    out = mac().run(ce_i=1, a_i=a, b_i=b, weight_i=weight, cut_i=cut, pcin_i=pcin)
    want = ((a * weight << 18) + b * weight)[:-4] + np.where(cut, 0, pcin)[3:-1]
    assert np.array_equal(out["p_o"][4:], want % (1 << 48))
    assert np.array_equal(out["pcout_o"], out["p_o"])


def test_mac_stalls_as_a_whole():
    """Without ce_i nothing moves: the results are those of the cycles with it."""
    rng = np.random.default_rng(1)
    n = 4000
    x = {
        "a_i": signed(rng, 8, n),
        "b_i": signed(rng, 8, n),
        "weight_i": signed(rng, 8, n),
        "cut_i": rng.integers(0, 2, n),
    }
    x["pcin_i"] = signed(rng, 48, n)
    ce = rng.integers(0, 2, n)
    runs = np.flatnonzero(ce)
    stalled = mac().run(ce_i=ce, **x)["p_o"][runs]
    free = mac().run(ce_i=1, **{name: v[runs] for name, v in x.items()})["p_o"]
    assert np.array_equal(stalled[4:], free[4:])
