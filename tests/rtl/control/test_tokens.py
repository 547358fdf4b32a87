"""tokens against counters: all sources or none, never below zero, none_o, and no deadlock between units that follow the rules."""

from __future__ import annotations

import random

import cocotb
import pytest
from cocotb.triggers import ReadOnly, RisingEdge
from cocotb_runner import run_bench, start

UNITS = 4


@pytest.mark.parametrize("seed", [1, 2])
def test_tokens(seed):
    run_bench("tokens", __file__, ["control"], seed=seed)


def masks(values) -> int:
    return sum(m << 4 * i for i, m in enumerate(values))


def counters(dut) -> list[list[int]]:
    word = int(dut.count_o.value)
    return [[word >> 8 * (4 * s + d) & 0xFF for d in range(UNITS)] for s in range(UNITS)]


@cocotb.test()
@cocotb.parametrize(generous=[0.2, 0.5, 0.8])
async def random_traffic(dut, generous):
    """take_ready iff every wanted token is there at the start of the cycle; each counter follows."""
    await start(dut, take_valid_i=0, take_mask_i=0, give_valid_i=0, give_mask_i=0)
    model = [[0] * UNITS for _ in range(UNITS)]
    refused = taken = 0
    for _ in range(1500):
        take = [random.getrandbits(4) & random.getrandbits(4) for _ in range(UNITS)]
        give = [random.getrandbits(4) if random.random() < generous else 0 for _ in range(UNITS)]
        asks, gives = random.getrandbits(4), random.getrandbits(4)
        for s in range(UNITS):  # the sum of a program's signals fits the counter
            for d in range(UNITS):
                if model[s][d] > 250:
                    give[s] &= ~(1 << d)
        dut.take_valid_i.value, dut.take_mask_i.value = asks, masks(take)
        dut.give_valid_i.value, dut.give_mask_i.value = gives, masks(give)
        await ReadOnly()
        assert counters(dut) == model
        assert int(dut.none_o.value) == (not any(map(any, model)))
        ready = int(dut.take_ready_o.value)
        for d in range(UNITS):
            can = all(model[s][d] for s in range(UNITS) if take[d] >> s & 1)
            assert ready >> d & 1 == can, f"unit {d}, mask {take[d]:04b}, counters {model}"
        await RisingEdge(dut.clk_i)
        for d in range(UNITS):
            if asks >> d & ready >> d & 1:
                taken += take[d] != 0
                for s in range(UNITS):
                    model[s][d] -= take[d] >> s & 1
            refused += not ready >> d & 1
        for s in range(UNITS):
            if gives >> s & 1:
                for d in range(UNITS):
                    model[s][d] += give[s] >> d & 1
    assert taken > 100 and refused > 20, (taken, refused)


@cocotb.test()
async def up_to_255(dut):
    """A counter goes up to its end and back; the last one in the same cycle as one more."""
    await start(dut, take_valid_i=0, take_mask_i=0, give_valid_i=0b10, give_mask_i=masks([0, 0b1000, 0, 0]))
    for _ in range(255):
        await RisingEdge(dut.clk_i)
    dut.take_valid_i.value, dut.take_mask_i.value, dut.give_valid_i.value = 0b1000, masks([0, 0, 0, 0b0010]), 0
    await RisingEdge(dut.clk_i)
    assert counters(dut)[1][3] == 255 and not int(dut.none_o.value)
    dut.give_valid_i.value = 0b10  # give and take
    await RisingEdge(dut.clk_i)
    dut.give_valid_i.value = 0
    for left in range(254, 0, -1):
        await RisingEdge(dut.clk_i)
        assert counters(dut)[1][3] == left and not int(dut.none_o.value)
        assert int(dut.take_ready_o.value) == 0b1111
    dut.take_valid_i.value = 0
    await RisingEdge(dut.clk_i)
    assert counters(dut)[1][3] == 0 and int(dut.none_o.value)
    assert int(dut.take_ready_o.value) == 0b0111


@cocotb.test()
async def no_deadlock(dut):
    """Random programs whose tokens are matched end, whatever the units' speeds: every wait names an earlier signal."""
    await start(dut, take_valid_i=0, take_mask_i=0, give_valid_i=0, give_mask_i=0)
    for _ in range(12):
        program = [[] for _ in range(UNITS)]  # of each unit: [wait, signal]
        order: list[tuple[int, list[int]]] = []
        for _ in range(60):
            unit = random.randrange(UNITS)
            step = [0, 0]
            for other, earlier in random.sample(order, min(len(order), 3)):
                if other != unit and not earlier[1] >> unit & 1 and not step[0] >> other & 1:
                    later = [s for o, s in order[order.index((other, earlier)) :] if o == other and s[1] >> unit & 1]
                    if not later:  # keep the order of tokens of a pair
                        earlier[1] |= 1 << unit
                        step[0] |= 1 << other
            program[unit].append(step)
            order.append((unit, step))
        waits, busy = [0] * UNITS, [0] * UNITS
        for _ in range(4000):
            take = [program[u][waits[u]][0] if waits[u] < len(program[u]) and not busy[u] else 0 for u in range(UNITS)]
            valid = sum(1 << u for u in range(UNITS) if waits[u] < len(program[u]) and not busy[u])
            ends = [u for u in range(UNITS) if busy[u] == 1]
            dut.take_valid_i.value, dut.take_mask_i.value = valid, masks(take)
            dut.give_valid_i.value = sum(1 << u for u in ends)
            dut.give_mask_i.value = masks([program[u][waits[u] - 1][1] if u in ends else 0 for u in range(UNITS)])
            await RisingEdge(dut.clk_i)
            ready = int(dut.take_ready_o.value)
            for u in range(UNITS):
                if busy[u]:
                    busy[u] -= 1
                elif valid >> u & ready >> u & 1:
                    waits[u] += 1
                    busy[u] = random.randint(1, 9)
            if not any(busy) and all(waits[u] == len(program[u]) for u in range(UNITS)):
                break
        else:
            raise AssertionError(f"stuck at {waits} of {[len(p) for p in program]}")
        dut.take_valid_i.value = dut.give_valid_i.value = 0
        await RisingEdge(dut.clk_i)
        await ReadOnly()
        assert int(dut.none_o.value), "a matched program leaves no token"
        await RisingEdge(dut.clk_i)
