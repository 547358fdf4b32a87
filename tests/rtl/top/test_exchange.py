"""exchange: parts of all cores to all cores, core after core, each word when all can take it; several times in a row."""

from __future__ import annotations

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cocotb_runner import PAUSES, parameter, pauses, run_bench, start

from flightllm.config.paths import data_dir


@pytest.mark.parametrize("cores", [1, 2, 3, 4])
def test_exchange(cores):
    run_bench(
        "exchange", __file__, ["common"], {"Cores": cores}, [data_dir("rtl") / "top" / "exchange.sv"], only="parts"
    )


@cocotb.test()
@cocotb.parametrize(kinds=PAUSES, words=[0, 1, 7])
async def parts(dut, kinds, words):
    cores = parameter("Cores")
    await start(dut, want_i=0, words_i=words, out_valid_i=0, out_data_i=0, in_ready_i=0)
    give = [pauses(kinds[0], k) for k in range(cores)]
    take = [pauses(kinds[1], 10 + k) for k in range(cores)]
    for _ in range(3):
        data = [[random.getrandbits(512) for _ in range(words)] for _ in range(cores)]
        sent, got, ended = [0] * cores, [], 0
        arrive = [random.randrange(12) for _ in range(cores)]
        for cycle in range(6000):
            here = [cycle >= a for a in arrive]
            dut.want_i.value = sum(h << k for k, h in enumerate(here))
            offered = [sent[k] < words and not next(give[k]) for k in range(cores)]
            ready = [not next(take[k]) for k in range(cores)]
            dut.out_valid_i.value = sum(o << k for k, o in enumerate(offered))
            dut.out_data_i.value = sum(
                (data[k][sent[k]] if offered[k] else random.getrandbits(512)) << (512 * k) for k in range(cores)
            )
            dut.in_ready_i.value = sum(r << k for k, r in enumerate(ready))
            dut.words_i.value = (
                words if all(here) else random.getrandbits(8)
            )  # another core's part does not count before
            await RisingEdge(dut.clk_i)
            valid, accept, taken = int(dut.in_valid_o.value), int(dut.in_accept_o.value), int(dut.out_ready_o.value)
            turn, core = int(dut.turn_o.value), int(dut.in_core_o.value)
            assert not turn or all(here), "began before every core was there"
            assert turn in (0, 1 << core)
            if valid:
                assert turn and offered[core] and int(dut.in_data_o.value) == data[core][sent[core]]
            assert accept == (valid and all(ready)), "a word moves when all can take it, and only then"
            assert taken == (accept << core)
            if accept:
                got.append((core, data[core][sent[core]]))
                sent[core] += 1
            if int(dut.end_o.value):
                ended += 1
                break
        assert ended == 1 and got == [(k, w) for k in range(cores) for w in data[k]]
        dut.want_i.value = 0  # the cores go on
        for _ in range(random.randrange(1, 4)):
            await RisingEdge(dut.clk_i)
            assert not int(dut.end_o.value) and not int(dut.turn_o.value)
