"""The scalar programs between the passes against flightllm.numerics, over ordinary operands and corners: jobs offered one by one,
at random and without a pause, each ended once under its tag."""

from __future__ import annotations

import numpy as np
import pytest
from player import Player
from structs import Structs

from flightllm.numerics import fp32, tables
from flightllm.numerics.constants import INV_QMAX
from flightllm.numerics.quant import scales_of
from flightllm.sim.sources import rtl_sources

KINDS = {"QuantA8": "a8", "QuantDual": "dual", "QuantKv8": "kv8", "QuantKv4": "kv4"}
#: cycles that a job takes at most: it waits for its slot's turn, then an operation each turn of six cycles
LONGEST = 6 * (1 + 5 + 2)
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


@pytest.mark.parametrize("pause", [0.0, 0.5, 0.97])
def test_programs(pause):
    rng = np.random.default_rng(int(100 * pause))
    types = Structs("special_pkg")
    ports = {
        "rst_ni": 1,
        "job_valid_i": 1,
        "program_i": types.bits("program_e"),
        "quant_i": types.bits("quant_e"),
        "tag_i": 7,
    }
    ports |= dict.fromkeys(("sum_i", "max_i", "inv_n_i", "eps_i"), 32)
    sources = [
        p
        for p in rtl_sources("common", "fp", "special")
        if p.parent.name != "special" or p.stem in ("scalar_unit", "special_pkg")
    ]
    outputs = {"job_ready_o": 1, "done_o": 1, "program_o": types.bits("program_e"), "tag_o": 7}
    outputs |= {"result_o": 32, "scale_o": 32, "inverse_o": 32}
    player = Player("scalar_unit", sources, ports, outputs)
    programs = list(types.enum("program_e"))

    def operand() -> np.ndarray:
        ordinary = np.abs(rng.standard_normal(2) * 2.0 ** rng.integers(-40, 40, 2)).astype(np.float32).view(np.uint32)
        return np.where(rng.random(2) < 0.25, rng.choice(CORNERS, 2), ordinary).astype(np.uint32)

    # An instruction's jobs share its format, inv_n and eps: they change when all have ended.
    n, stretch = 60_000, 1500
    x = {name: np.zeros(n, np.int64) for name in ports}
    x["rst_ni"][4:] = 1
    for at in range(4, n, stretch):
        part = slice(at, at + stretch)
        quant = str(rng.choice(list(KINDS)))
        fit = [p for p in programs if p not in ("ScalarQuant", "ScalarQuantKv", "ScalarSoftmax")]
        fit += ["ScalarQuantKv"] if "Kv" in quant else ["ScalarQuant"]
        fit += ["ScalarSoftmax"] if quant == "QuantDual" else []
        size = len(x["quant_i"][part])
        x["quant_i"][part] = types.enum("quant_e")[quant]
        x["inv_n_i"][part], x["eps_i"][part] = operand()
        x["program_i"][part] = [types.enum("program_e")[p] for p in rng.choice(fit, size)]
        x["job_valid_i"][part] = (rng.random(size) >= pause) & (np.arange(size) < size - LONGEST)
    x["tag_i"][:] = rng.integers(0, 128, n)
    for i in range(n):
        x["sum_i"][i], x["max_i"][i] = operand()
    x["sum_i"] |= ((x["program_i"] == types.enum("program_e")["ScalarMean"]) & (rng.random(n) < 0.5)).astype(
        np.int64
    ) << 31
    x["max_i"][x["max_i"] > 0x7F800000] = 0  # a magnitude is never a NaN
    out = player.run(**x)

    begun = [i for i in np.flatnonzero(x["job_valid_i"] & out["job_ready_o"]) if i >= 4]
    assert len(begun) > (400 if pause > 0.9 else 8000), "jobs are taken too slowly"
    waiting: dict[int, list[int]] = {}
    for i in begun:
        waiting.setdefault(int(x["tag_i"][i]) << 3 | int(x["program_i"][i]), []).append(i)
    for end in np.flatnonzero(out["done_o"][4:]) + 4:
        program = programs[int(out["program_o"][end])]
        with np.errstate(all="ignore"):
            # jobs under one tag may overtake each other: the one whose result this is
            jobs = waiting[int(out["tag_o"][end]) << 3 | int(out["program_o"][end])]
            wants = []
            for job in jobs:
                words = np.array([x[name][job] for name in ("sum_i", "max_i", "inv_n_i", "eps_i")], np.uint32)
                kind = list(KINDS.values())[int(x["quant_i"][job]) - 1]
                values = expected(program, kind, *words.view(np.float32))
                wants.append(
                    {k: int(np.asarray(v, np.float32).reshape(-1).view(np.uint32)[0]) for k, v in values.items()}
                )
        got = {name: int(out[name][end]) for name in wants[0]}
        assert got in wants, f"{program} at cycle {end}: {got}, not {wants}"
        job = jobs.pop(wants.index(got))
        assert end - job <= LONGEST, f"{program} took {end - job} cycles"
    assert not any(waiting.values()), "a job did not end"
