"""special_index: the slots of a pass, vector by vector: headers, words of all or of the active blocks, vectors without words; none
before its vector is allowed, under pauses of the reader."""

from __future__ import annotations

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ReadOnly, RisingEdge
from cocotb_runner import pauses, run_bench, start
from structs import Structs

from flightllm.isa.blocks import active_blocks, units_of
from flightllm.isa.fields import Operands

TYPES = Structs("special_pkg")
MASK_LATENCY = 2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_special_index(seed):
    run_bench("special_index", __file__, ["common", "special"], {}, seed=seed, only="passes")


def slots(vectors: int, words: list[int], header: bool) -> list[dict[str, int]]:
    """What one pass goes through; words: indices of a vector's words, in order."""
    out = []
    for vec in range(vectors):
        rows = [{"index": 0, "header": 1, "empty": 0}] if header else []
        rows += [{"index": w, "header": 0, "empty": 0} for w in words]
        rows = rows or [{"index": 0, "header": 0, "empty": 1}]
        out += [{"vec": vec, "first": int(i == 0), "last": int(i == len(rows) - 1), **r} for i, r in enumerate(rows)]
    return out


@cocotb.test()
@cocotb.parametrize(kind=["none", "half", "bursts"], runs=[0, 1], header=[0, 1])
async def passes(dut, kind, runs, header):
    mask = np.array([random.getrandbits(8) for _ in range(1 << 12)], np.uint8)
    await start(
        dut, start_i=0, header_i=header, runs_i=runs, words_i=0, vectors_i=0, vectors_valid_i=0, allowed_i=0, len_i=0,
        sink_i=0, first_i=0, masked_i=0, mask_i=0, mb_data_i=0, ready_i=0,
    )  # fmt: skip
    take = pauses(kind, 3)
    for case in range(12):
        length = random.choice([0, 1, 15, 16, 64, 65, 130, 500, 700])
        vectors = random.choice([1, 2, 7, 32])
        fields = {"len": length, "sink": random.randrange(4), "first": random.randrange(-1, 9),
                  "masked": random.randrange(2), "mask": random.randrange(1 << 11)}  # fmt: skip
        indices = list(range(-(-length // 16)))
        if runs:
            blocks = active_blocks(Operands(fields), mask)
            indices = [w for b in blocks for w in range(*units_of(b, length, 16))]
        want = slots(vectors, indices, bool(header))
        dut.words_i.value, dut.len_i.value = -(-length // 16), length
        dut.sink_i.value, dut.first_i.value = fields["sink"], fields["first"] & 0xFFFFFFFF
        dut.masked_i.value, dut.mask_i.value = fields["masked"], fields["mask"]
        known = allowed = random.choice([0, 1, vectors])
        if case % 2:
            allowed = 0
        dut.start_i.value = 1
        answers, got, ended = [0] * MASK_LATENCY, [], False
        for _ in range(30_000):
            dut.vectors_i.value, dut.vectors_valid_i.value, dut.allowed_i.value = known, int(known == vectors), allowed
            dut.ready_i.value = ready = int(not next(take))
            dut.mb_data_i.value = answers.pop(0)
            await ReadOnly()
            if int(dut.valid_o.value):
                slot = TYPES.unpack("slot_t", int(dut.slot_o.value))
                assert slot["vec"] < allowed, "a slot of a vector that is not allowed yet"
                if slot["header"] or slot["empty"]:
                    slot["index"] = 0  # of no word
                assert slot == want[len(got)], f"slot {len(got)} of {fields}, {vectors} vectors"
                if ready:
                    got.append(slot)
            answers.append(int(mask[int(dut.mb_addr_o.value) % mask.size]))
            ended = bool(int(dut.done_o.value)) and not int(dut.start_i.value)
            await RisingEdge(dut.clk_i)
            dut.start_i.value = 0
            if ended:
                break
            # sometimes all vectors that are known have been gone through, and there are more
            known = min(vectors, known + (random.random() < (0.02 if case % 3 == 2 else 1)))
            allowed = min(known, allowed + (random.random() < (1 if case % 3 == 2 else 0.2)))
        assert ended and got == want, f"{len(got)} slots of {len(want)}"
