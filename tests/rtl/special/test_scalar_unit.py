"""The scalar programs between the passes against flightllm.numerics, over ordinary operands and corners."""

from __future__ import annotations

import numpy as np
from player import Player
from structs import Structs

from flightllm.numerics import fp32, tables
from flightllm.numerics.constants import INV_QMAX, QMAX
from flightllm.numerics.quant import scales_of
from flightllm.sim.sources import rtl_sources

KINDS = {"QuantA8": "a8", "QuantDual": "dual", "QuantKv8": "kv8", "QuantKv4": "kv4"}
#: cycles that a program takes at most
LONGEST = 48
#: powers and their neighbours around 2^-100, below which nothing is quantised; infinities, NaN, subnormals
CORNERS = [
    0,
    1,
    0x00800000,
    0x0D7FFFFF,
    0x0D800000,
    0x0D800001,
    0x3F800000,
    0x7F7FFFFF,
    0x7F800000,
    0x7FC00000,
    0x7E800001,
]


def expected(
    program: str, kind: str, s: np.float32, a: np.float32, inv_n: np.float32, eps: np.float32
) -> dict[str, np.float32]:
    mean = fp32.mul(s, inv_n)
    if program == "ScalarMean":
        return {"result_o": mean}
    if program == "ScalarRsqrt":
        return {"result_o": tables.rsqrt(fp32.add(mean, eps))}
    if program != "ScalarSoftmax":
        scale, inverse = scales_of(np.array([[a]], np.float32), kind)
        return {"scale_o": scale[0], "inverse_o": inverse[0]}
    _, inverse = scales_of(np.array([[a]], np.float32), "dual")
    scale = fp32.mul(fp32.mul(a, INV_QMAX["dual"]), tables.recip(np.array([s]))[0])
    return {"scale_o": scale if inverse[0] else np.float32(0), "inverse_o": inverse[0]}


def test_programs():
    rng = np.random.default_rng(0)
    types = Structs("special_pkg")
    names = ("program_e", "quant_e")
    ports = {"rst_ni": 1, "start_i": 1, "program_i": types.bits(names[0]), "quant_i": types.bits(names[1])}
    ports |= dict.fromkeys(("sum_i", "max_i", "inv_n_i", "eps_i"), 32)
    sources = [
        p
        for p in rtl_sources("fp", "special")
        if p.parent.name != "special" or p.stem in ("scalar_unit", "special_pkg")
    ]
    outputs = {"done_o": 1, "result_o": 32, "scale_o": 32, "inverse_o": 32}
    player = Player("scalar_unit", sources, ports, outputs)

    cases = []
    for _ in range(2500):
        program = str(rng.choice(list(types.enum("program_e"))))
        kv = program == "ScalarQuantKv"
        quant = "QuantDual" if program == "ScalarSoftmax" else str(rng.choice([q for q in KINDS if ("Kv" in q) == kv]))
        ordinary = np.abs(rng.standard_normal(4) * 2.0 ** rng.integers(-40, 40, 4)).astype(np.float32).view(np.uint32)
        operand = np.where(rng.random(4) < 0.25, rng.choice(CORNERS, 4), ordinary).astype(np.uint32)
        if program == "ScalarMean" and rng.random() < 0.5:
            operand[0] |= np.uint32(1 << 31)
        operand[1] = operand[1] if operand[1] <= 0x7F800000 else 0  # a magnitude is never a NaN
        cases.append((program, quant, operand))
    n = 4 + LONGEST * len(cases)
    x = {name: np.zeros(n, np.int64) for name in ports}
    x["rst_ni"][4:] = 1
    for k, (program, quant, operand) in enumerate(cases):
        at = slice(4 + k * LONGEST, 4 + (k + 1) * LONGEST)
        x["program_i"][at], x["quant_i"][at] = types.enum("program_e")[program], types.enum("quant_e")[quant]
        x["start_i"][at.start] = 1
        for name, value in zip(("sum_i", "max_i", "inv_n_i", "eps_i"), operand, strict=True):
            x[name][at] = value
    out = player.run(**x)
    done = np.flatnonzero(out["done_o"][4:]) + 4
    assert np.array_equal((done - 4) // LONGEST, np.arange(len(cases))), "not one end for each start"
    for k, (program, quant, operand) in enumerate(cases):
        with np.errstate(all="ignore"):
            want = expected(program, KINDS[quant], *operand.view(np.float32))
        for name, value in want.items():
            got = int(out[name][done[k]])
            word = int(np.asarray(value, np.float32).reshape(-1).view(np.uint32)[0])
            assert got == word, f"{program} {quant} of {[hex(int(w)) for w in operand]}: {name} {got:#x}, not {word:#x}"
    assert QMAX["dual"] == 16256
