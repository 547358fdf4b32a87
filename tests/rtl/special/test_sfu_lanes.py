"""The arithmetic pipeline of the special-function unit: every pass of every instruction, and mixes of stages, with gaps; scalars of
their own for every issue."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from player import Player
from structs import Structs

from flightllm.numerics import fp32, tables
from flightllm.numerics.constants import GELU_K, LOG2E
from flightllm.sim.sources import rtl_sources

#: cycles after the last issue in which the pipeline empties
EMPTY = 64
#: cycles before the first issue in which a pass's stages and scalars are there already
LEAD = 10
NONE = {"a0": "A0Pass", "m1": "M1Pass", "m2": "M2Pass", "a3": "A3Pass", "m10": "M10Pass"}
FLAGS = ("m4", "m6", "e7", "a8", "r9", "m11")
#: the passes of docs/rtl.md
PASSES = [
    {"m1": "M1Self"},  # sum of squares
    {},  # sum
    {"a0": "A0Scalar", "m1": "M1Self"},
    {"m1": "M1Scalar", "m2": "M2StreamY"},
    {"a0": "A0Scalar", "m1": "M1Scalar", "m2": "M2StreamY", "a3": "A3StreamZ"},
    {"a0": "A0Relu"},
    {"a0": "A0Relu", "m11": 1},
    {"m6": 1, "e7": 1, "a8": 1, "r9": 1, "m10": "M10X", "m11": 1},
    {"m1": "M1Self", "m2": "M2Scalar", "a3": "A3Scalar", "m4": 1, "m6": 1, "e7": 1, "a8": 1, "r9": 1, "m10": "M10X"},
    {"a0": "A0StreamY"},
    {"m1": "M1StreamY", "m2": "M2Scalar"},
    {"m1": "M1StreamY", "m2": "M2Scalar", "a3": "A3Scalar", "e7": 1, "m10": "M10StreamZ"},
    {"rotate": 1, "m1": "M1StreamY", "a3": "A3Side"},
]
TYPES = Structs("special_pkg")


def mixes(rng: np.random.Generator, n: int) -> list[dict[str, str | int]]:
    """Any stages whose operands are there in time: Y straight into m1 without an adder in a0, FIFOs behind some stage."""
    out = []
    for _ in range(n):
        p: dict[str, str | int] = {name: str(rng.choice(list(TYPES.enum(f"{name}_e")))) for name in NONE}
        p |= {name: int(rng.random() < 0.4) for name in FLAGS}
        if p["a3"] == "A3Side":
            p["a3"] = "A3StreamZ"
        if p["m1"] == "M1StreamY" and p["a0"] in ("A0Scalar", "A0StreamY"):
            p["a0"] = "A0Pass"
        cycles = 4 * (p["a0"] in ("A0Scalar", "A0StreamY")) + 3 * (p["m1"] != "M1Pass")
        if p["m2"] == "M2StreamY" and not cycles:
            p["m2"] = "M2Scalar"
        cycles += 3 * (p["m2"] != "M2Pass")
        if p["a3"] == "A3StreamZ" and not cycles:
            p["a3"] = "A3Scalar"
        cycles += 4 * (p["a3"] != "A3Pass")
        p["m4"] = int(bool(p["m4"]) and cycles > 3)
        out.append(p)
    return out


def scalars_of(p: dict, rng: np.random.Generator, n: int) -> np.ndarray:
    """float32 [4, n]: s0, s1 differ from issue to issue, so does s3 behind two multiplications (softmax); s2 stays."""
    s = rng.standard_normal((4, n)).astype(np.float32)
    s[2] = s[2, 0]
    if p["a0"] in ("A0Scalar", "A0StreamY") or p["m1"] == "M1Pass" or p["m2"] == "M2Pass":
        s[3] = s[3, 0]
    return s


def reference(p: dict, data: list[np.ndarray], high: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(what an ordered sum sees, result) of float32 [issues, lanes] streams X Y Z W and scalars [4, issues, 1]."""
    x, y, z, w = data
    add, mul = fp32.add, fp32.mul
    v = np.where(high[:, None], w, x) if p["rotate"] else x
    v = {"A0Pass": lambda: v, "A0Scalar": lambda: add(x, s[0]), "A0StreamY": lambda: add(x, y),
         "A0Relu": lambda: fp32.maximum(fp32.flush(x), np.float32(0))}[p["a0"]]()  # fmt: skip
    steps: dict[str, dict[str, Callable[[], np.ndarray]]] = {
        "m1": {"M1Self": lambda: mul(v, v), "M1Scalar": lambda: mul(v, s[1]), "M1StreamY": lambda: mul(v, y)},
        "m2": {"M2Scalar": lambda: mul(v, s[2]), "M2StreamY": lambda: mul(v, y)},
        "a3": {"A3Scalar": lambda: add(v, s[3]), "A3StreamZ": lambda: add(v, z),
               "A3Side": lambda: add(v, np.where(high[:, None], mul(x, z), fp32.neg(mul(w, z))))},
        "m10": {"M10X": lambda: mul(v, x), "M10StreamZ": lambda: mul(v, z)},
    }  # fmt: skip
    for name in ("m1", "m2", "a3"):
        v = steps[name][p[name]]() if p[name] in steps[name] else v
    if p["m4"]:
        v = mul(v, mul(x, GELU_K))
    if p["m6"]:
        v = mul(v, -LOG2E)
    v = tables.exp2(v) if p["e7"] else v
    v = add(v, np.float32(1)) if p["a8"] else v
    tap = tables.recip(v) if p["r9"] else v
    v = tap
    v = steps["m10"][p["m10"]]() if p["m10"] in steps["m10"] else v
    return tap, mul(v, w) if p["m11"] else v


@pytest.mark.parametrize("lanes", [4])
def test_passes(lanes):
    rng = np.random.default_rng(lanes)
    fields = TYPES.names("stages_t")
    ports = {
        "rst_ni": 1, "stages_i": TYPES.bits("stages_t"), "scalars_i": TYPES.bits("scalars_t"), "valid_i": 1,
        "data_i": (4 * lanes, 32), "high_i": 1,
    }  # fmt: skip
    sources = [p for p in rtl_sources("common", "fp", "special")
               if p.parent.name != "special" or p.stem in ("special_pkg", "sfu_lanes") or p.stem.startswith("lane_")]  # fmt: skip
    outputs = {"tap_valid_o": 1, "tap_o": (lanes, 32), "valid_o": 1, "out_o": (lanes, 32)}
    player = Player("sfu_lanes", sources, ports, outputs, {"Lanes": lanes})
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ports}
    cases = []
    n, at = 90, 8
    for change in PASSES + mixes(rng, 60):
        p = dict.fromkeys(fields, 0) | NONE | change
        word = TYPES.pack("stages_t", **{k: TYPES.enum(f"{k}_e")[v] if isinstance(v, str) else v for k, v in p.items()})
        ordinary = (rng.standard_normal((n, 4 * lanes)) * 2.0 ** rng.integers(-6, 6, (n, 4 * lanes))).astype(np.float32)
        raw = np.where(
            rng.random(ordinary.shape) < 0.02, rng.integers(0, 1 << 32, ordinary.shape), ordinary.view(np.uint32)
        ).astype(np.uint32)
        scalars = scalars_of(p, rng, n)
        valid = rng.random(n) < rng.choice([1.0, 0.5])
        high = np.cumsum(valid) % 2 == 0 if p["rotate"] else rng.random(n) < 0.5
        streams = [raw[:, lanes * i : lanes * (i + 1)].copy().view(np.float32)[valid] for i in range(4)]
        with np.errstate(all="ignore"):
            cases.append((change, at, reference(p, streams, high[valid], scalars[:, valid, None])))
        length = LEAD + n + EMPTY
        wide = scalars.view(np.uint32)[::-1].T  # s0 is the highest
        wide = np.concatenate([np.tile(wide[0], (LEAD, 1)), wide, np.tile(wide[-1], (EMPTY, 1))])
        columns["stages_i"].append(np.full(length, word))
        columns["scalars_i"].append(wide)
        columns["valid_i"].append(np.pad(valid, (LEAD, EMPTY)))
        columns["high_i"].append(np.pad(high, (LEAD, EMPTY)))
        columns["data_i"].append(np.pad(raw, ((LEAD, EMPTY), (0, 0))))
        at += length
    x = {
        name: np.concatenate([np.zeros((8, *parts[0].shape[1:]), parts[0].dtype), *parts])
        for name, parts in columns.items()
        if parts
    }
    player.inputs["scalars_i"] = (4, 32)
    out = player.run(rst_ni=np.arange(at) >= 6, **x)
    for change, start, want in cases:
        part = slice(start, start + LEAD + n + EMPTY)
        for valid_name, name, value in (("tap_valid_o", "tap_o", want[0]), ("valid_o", "out_o", want[1])):
            got = out[name][part][out[valid_name][part] == 1]
            word = np.ascontiguousarray(value, np.float32).view(np.uint32)
            assert got.shape == word.shape, f"{change}, {name}: {len(got)} results of {len(word)}"
            bad = np.argwhere(got != word)
            assert not bad.size, (
                f"{change}, {name}: {len(bad)} differ, first {bad[0]}: {got[tuple(bad[0])]:#x}, {word[tuple(bad[0])]:#x}"
            )
