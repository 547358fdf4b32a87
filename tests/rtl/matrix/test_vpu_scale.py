"""Scale and accumulate of a chain: every kind of operation, back to back on the same entries, with reads for the drain; lanes with
sigmas and entries of their own if two VPUs share it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from player import Player

from flightllm.sim.sources import rtl_sources

WORD = 1 << 48
SUM_BITS = 22


@cache
def scale(entries: int, chain_vpus: int) -> Player:
    a = (entries - 1).bit_length()
    ports = {
        "ce_i": 1, "sum_a_i": (8, SUM_BITS), "sum_b_i": (8, SUM_BITS), "n_index_i": 2, "node_i": 3,
        "sigma_i": (chain_vpus, 8),
        "mu_i": 12, "group_sum_i": 18, "op1_valid_i": 1, "op1_affine_i": 1, "op1_lane_i": 1, "op1_first_i": 1,
        "op1_addr_i": (chain_vpus, a), "drain_addr_i": a,
    }  # fmt: skip
    wanted = ("matrix_pkg", "DSP48E2", "dsp_slice", "scale_control", "vpu_scale")
    sources = [p for p in rtl_sources("matrix") if p.stem in wanted] + [Path(__file__).parent / "scale_bench.sv"]
    parameters = {"Entries": entries, "ChainVpus": chain_vpus}
    return Player("scale_bench", sources, ports, {"entry_a_o": 48, "entry_b_o": 48}, parameters)


def row_sum(sums: np.ndarray, n_index: int, node: int) -> int:
    """Sum of the row that an operation is about: docs/rtl.md, reduction nodes."""
    if n_index == 0:
        return int(sums[3]) + int(sums[7])
    return int(sums[[0, 3 + 4 * (node & 1), 1 + 2 * (node & 3), node][n_index]])


def with_repeats(addr: np.ndarray, start: int, rng: np.random.Generator) -> np.ndarray:
    """addr [cycles, lanes], from `start` on half of it as it was one, two or three operations before: in all lanes, or in each as it comes."""
    cycles, lanes = addr.shape
    back = np.where(rng.random((cycles, lanes)) < 0.5, rng.choice([1, 1, 2, 2, 3], (cycles, lanes)), 0)
    together = rng.random(cycles) < 0.3
    back[together] = back[together, :1]
    back[:start] = 0
    same = (rng.random(cycles) < 0.2) & (np.arange(cycles) >= start)  # as in a packed run: one place in both banks
    for t in range(start, cycles):
        for lane in range(lanes):
            addr[t, lane] = addr[t - back[t, lane], lane]
        if same[t]:
            addr[t] = addr[t, 0]
    return addr


@pytest.mark.parametrize("chain_vpus", [1, 2])
@pytest.mark.parametrize(("entries", "density", "stalls"), [(4, 1.0, 0.0), (16, 0.6, 0.3), (512, 0.9, 0.0)])
def test_operations_and_reads(entries, density, stalls, chain_vpus):
    """Few entries: the same one comes again after 1, 2, 3 cycles, in the same and in the other lane."""
    rng = np.random.default_rng(entries)
    n = 12_000
    valid = rng.random(n) < density
    valid[-8:] = False
    top = np.array([-(1 << (SUM_BITS - 1)), (1 << (SUM_BITS - 1)) - 1])
    sums = rng.integers(top[0], top[1] + 1, (2, n, 8))
    sums = np.where(rng.random((2, n, 8)) < 0.2, rng.choice(top, (2, n, 8)), sums)
    x = {
        name: rng.integers(0, 1 << bits, n) for name, bits in (("n_index", 2), ("node", 3), ("affine", 1), ("lane", 1))
    }
    sigma = rng.choice([0, 1, 255, 128, 17, 200], (n, chain_vpus))
    mu = rng.choice([-2048, 2047, 0, -1, 999], n)
    group = np.where(
        rng.random(n) < 0.3, rng.choice([-(1 << 17), (1 << 17) - 1], n), rng.integers(-(1 << 17), 1 << 17, n)
    )
    first = rng.random(n) < 0.2
    first[: 8 * entries] = True  # every entry gets a value that is known
    addr = rng.integers(0, entries, (n, chain_vpus))
    addr[: 8 * entries] = (np.arange(8 * entries) % entries)[:, None]
    valid[: 8 * entries], x["affine"][: 8 * entries] = True, 0
    addr = with_repeats(addr, 8 * entries, rng)
    drain = rng.integers(0, entries, n)

    def later(values: np.ndarray, by: int) -> np.ndarray:
        moved = np.roll(values, by, axis=0)
        moved[:by] = 0
        return moved

    noise = rng.integers(0, 2, n)  # controls say nothing while nothing is valid
    columns = {
        "sum_a_i": sums[0], "sum_b_i": sums[1], "n_index_i": x["n_index"], "node_i": x["node"], "sigma_i": sigma, "mu_i": mu, "group_sum_i": group,
        "op1_valid_i": later(valid, 1), "op1_affine_i": later(np.where(valid, x["affine"], noise), 1),
        "op1_lane_i": later(np.where(valid, x["lane"], noise), 1), "op1_first_i": later(first, 1), "op1_addr_i": later(addr, 1),
        "drain_addr_i": drain,
    }  # fmt: skip
    moves = np.flatnonzero(rng.random(3 * n) >= stalls)[:n]
    source = rng.integers(0, n, int(moves[-1]) + 2)
    source[moves] = np.arange(n)
    ce = np.zeros(len(source), int)
    ce[moves] = 1
    out = scale(entries, chain_vpus).run(ce_i=ce, **{name: v[source] for name, v in columns.items()})

    banks = {"a": [0] * entries, "b": [0] * entries}
    checked = 0
    for t in range(4, n):
        if not valid[t - 2] and t > 8 * entries + 4:  # a read in cycle t, seen behind the next edge that moves
            for lane in "ab":
                got = int(out[f"entry_{lane}_o"][moves[t] + 1])
                assert got == banks[lane][drain[t]], f"cycle {t}, entry {drain[t]}, lane {lane}"
                checked += 1
        u = t - 4
        if not valid[u]:
            continue
        p = [row_sum(sums[i, u], x["n_index"][u], x["node"][u]) for i in range(2)]
        adds = [int(sigma[u, i % chain_vpus]) * p[i] for i in range(2)]
        lanes = (0, 1)
        if x["affine"][u]:
            lanes = (int(x["lane"][u]),)
            adds[lanes[0]] += int(mu[u]) * int(group[u])
        for i in lanes:
            lane, add, e = "ab"[i], adds[i], int(addr[u, i % chain_vpus])
            banks[lane][e] = ((0 if first[u] else banks[lane][e]) + add) % WORD
    if density == 1.0:  # no cycle was free: read at the end only
        assert checked == 2 * 6
    else:
        assert checked > 200


@pytest.mark.parametrize("chain_vpus", [1, 2])
def test_everything_is_read_back(chain_vpus):
    """Without a free cycle between: a run of operations, then each entry, each lane."""
    rng = np.random.default_rng(5)
    entries, n = 16, 4096
    ops = np.arange(n) < n - 2 * entries
    sums = rng.integers(-(1 << (SUM_BITS - 1)), 1 << (SUM_BITS - 1), (2, n, 8))
    sigma = rng.integers(0, 256, (n, chain_vpus))
    often = np.array([3, 5])[:chain_vpus]
    addr = np.where(rng.random((n, chain_vpus)) < 0.7, often, rng.integers(0, entries, (n, chain_vpus)))
    addr[:entries] = np.arange(entries)[:, None]
    drain = np.arange(n) % entries
    valid = np.roll(ops, 1) & (np.arange(n) >= 1)
    out = scale(entries, chain_vpus).run(
        ce_i=1, sum_a_i=sums[0], sum_b_i=sums[1], n_index_i=0, node_i=0, sigma_i=sigma, mu_i=0, group_sum_i=0,
        op1_valid_i=valid, op1_affine_i=0, op1_lane_i=0, op1_first_i=np.roll(np.arange(n) < entries, 1),
        op1_addr_i=np.roll(addr, 1, axis=0), drain_addr_i=drain,
    )  # fmt: skip
    for i, lane in enumerate("ab"):
        want = np.zeros(entries, np.int64)
        own = i % chain_vpus
        np.add.at(want, addr[ops, own], (sums[i, :, 3] + sums[i, :, 7])[ops] * sigma[ops, own])
        read = np.arange(n - entries, n - 1)
        assert np.array_equal(out[f"entry_{lane}_o"][read + 1], want[drain[read]] % WORD)
