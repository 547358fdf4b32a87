"""special_sum: sums of vectors back to back against flightllm.numerics, in the order of the claims, two at work at a time."""

from __future__ import annotations

import numpy as np
import pytest
from player import Player

from flightllm.numerics import fp32
from flightllm.sim.sources import rtl_sources

#: cycles from a claim to the first elements: in the unit, the latency of the lanes
LATE = 12
#: cycles after which a place may come again (test_ordered_sum)
DISTANCE = 6
#: cycles from the last elements to the sum: at most, and at least
TREE = {4: (84, 160), 8: (60, 100), 16: (40, 70)}


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_vectors(lanes):
    """An accumulator is free again one cycle behind its sum; the bench claims it then or later, and asserts that free_o says so."""
    rng = np.random.default_rng(lanes)
    parts, (_, longest) = 16 // lanes, TREE[lanes]
    sources = [p for p in rtl_sources("common", "fp", "special")
               if p.parent.name != "special" or p.stem in ("ordered_sum", "special_sum")]  # fmt: skip
    inputs = {
        "rst_ni": 1,
        "claim_i": 1,
        "valid_i": 1,
        "which_i": 1,
        "last_i": 1,
        "row_i": 4,
        "part_i": 2,
        "data_i": (lanes, 32),
    }
    outputs = {"which_o": 1, "free_o": 1, "done_o": 1, "done_which_o": 1, "sum_o": 32}
    player = Player("special_sum", sources, inputs, outputs, {"Lanes": lanes})

    n = 30_000
    x = {
        name: rng.integers(0, 2, n) if name == "which_i" else np.zeros(n, np.int64)
        for name in inputs
        if name != "data_i"
    }
    x["rst_ni"][4:] = 1
    x["data_i"] = rng.integers(0, 1 << 32, (n, lanes))
    claims, ends, sums = [], [], []
    free = [5, 5]  # from when on an accumulator may be claimed
    claim, feed = 5, 5 + LATE
    while True:
        which = len(claims) % 2
        words = int(rng.choice([1, 2, 8, 16, 17, 32, 70]))
        data = (rng.standard_normal((words, 16)) * 2.0 ** rng.integers(-20, 20, (words, 16))).astype(np.float32)
        claim = max(claim + 1, free[which]) + int(rng.choice([0, 0, 3, 90]))
        feed = max(feed, claim + LATE)
        if feed + words * parts * DISTANCE + 2 * longest > n:
            break
        x["claim_i"][claim] = 1
        last = feed
        recent: dict[tuple[int, int], int] = {}
        for w in range(words):
            for part in range(parts):
                feed = max(feed, recent.get((w % 16, part), 0) + DISTANCE)
                recent[w % 16, part] = last = feed
                x["valid_i"][feed], x["which_i"][feed], x["row_i"][feed], x["part_i"][feed] = 1, which, w % 16, part
                x["data_i"][feed] = data[w, lanes * part : lanes * (part + 1)].view(np.uint32)
                feed += 1 + int(rng.random() < 0.1)
        x["last_i"][last] = 1
        claims.append(claim)
        ends.append(last)
        sums.append(int(np.float32(fp32.ordered_sum(data.reshape(-1))).view(np.uint32)))
        free[which] = last + longest
        claim = feed - LATE  # the next vector follows at once where its accumulator is free
    out = player.run(**x)
    done = np.flatnonzero(out["done_o"][4:]) + 4
    assert len(done) == len(sums) > 100
    assert [hex(int(s)) for s in out["sum_o"][done]] == [hex(s) for s in sums]
    assert list(out["done_which_o"][done]) == [k % 2 for k in range(len(done))]
    low, high = TREE[lanes]
    assert all(low <= d - e <= high for d, e in zip(done, ends, strict=True)), (done - np.array(ends))[:9]
    assert all(out["free_o"][c] and out["which_o"][c] == k % 2 for k, c in enumerate(claims))
    # with both claimed none is free
    for k in range(2, len(claims)):
        both = slice(claims[k - 1] + 1, done[k - 2] + 1)
        assert not out["free_o"][both].any()
