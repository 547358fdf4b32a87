"""multiply_add against integers: new operands in every cycle, random ones of every size and those at the cuts of the parts, the sum
modulo 2^40 exactly four cycles later.
"""

from __future__ import annotations

import itertools
import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge
from cocotb_runner import run_bench, start

LATENCY = 4


def test_multiply_add():
    run_bench("multiply_add", __file__, ["common"])


def operands() -> list[tuple[int, int, int]]:
    """(a, b, c): every pair of single bits and of all ones, negative ones too, then random sizes."""
    edges_a = [s * (1 << i) + d for i in (0, 13, 14, 16, 17, 18, 30) for s in (1, -1) for d in (-1, 0)] + [
        2**31 - 1,
        -(2**31),
    ]
    edges_b = [(1 << i) + d for i in (0, 22, 23, 25, 26, 27, 39) for d in (-1, 0)] + [2**40 - 1]
    edges = [(a, b, random.getrandbits(40)) for a, b in itertools.product(edges_a, edges_b)]
    sized = [
        (
            random.getrandbits(32) - 2**31 >> random.randrange(32),
            random.getrandbits(40) >> random.randrange(40),
            random.getrandbits(40) >> random.randrange(40),
        )
        for _ in range(3000)
    ]
    return edges + sized


@cocotb.test()
async def sums(dut):
    await start(dut, a_i=0, b_i=0, c_i=0)
    flying: deque[tuple[int, int, int]] = deque()
    checked = 0
    for triple in operands():
        a, b, c = triple
        dut.a_i.value, dut.b_i.value, dut.c_i.value = a, b, c
        flying.append(triple)
        await RisingEdge(dut.clk_i)
        if len(flying) > LATENCY:
            a, b, c = flying.popleft()
            assert int(dut.sum_o.value) == (c + a * b) % 2**40, f"{c} + {a} * {b}"
            checked += 1
    assert checked > 3000
