"""The ordered sum against flightllm.numerics: order of additions, skipped words, rows as early as they may come again."""

from __future__ import annotations

import numpy as np
import pytest
from player import Player

from flightllm.numerics import fp32
from flightllm.sim.sources import rtl_sources

#: cycles after which a row may come again: operand registers, the adder's latency and the write behind it
DISTANCE = 6
#: cycles that a tree takes at most
TREE = 220
CORNERS = np.array(
    [0, 0x80000000, 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 0x00800000, 0x80800000], np.uint32
)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_sums(lanes):
    rng = np.random.default_rng(lanes)
    parts = 16 // lanes
    sources = [
        p for p in rtl_sources("common", "fp", "special") if p.parent.name != "special" or p.stem == "ordered_sum"
    ]
    ports = {"rst_ni": 1, "clear_i": 1, "valid_i": 1, "row_i": 4, "part_i": 2, "data_i": (lanes, 32), "finish_i": 1}
    player = Player("ordered_sum", sources, ports, {"done_o": 1, "sum_o": 32}, {"Lanes": lanes})

    rows: list[tuple[int, int, int, int, int]] = [(0, 0, 0, 0, 0)] * 4  # clear, valid, row, part, finish
    data = [np.zeros(lanes, np.uint32)] * 4
    vectors, ends = [], []
    for case in range(60):
        words = int(rng.choice([0, 1, 2, 15, 16, 17, 40, 90]))
        x = (rng.standard_normal((words, 16)) * 2.0 ** rng.integers(-20, 20, (words, 16))).astype(np.float32)
        if case % 5 == 4:
            x.view(np.uint32)[rng.random(x.shape) < 0.02] = rng.choice(CORNERS)
        kept = rng.random(words) >= rng.choice([0.0, 0.0, 0.5, 0.9])
        rows.append((1, 0, 0, 0, 0))
        data.append(np.zeros(lanes, np.uint32))
        recent: list[tuple[int, int] | None] = [None] * (DISTANCE - 1)
        for w in np.flatnonzero(kept):
            for part in range(parts):
                while (w % 16, part) in recent or rng.random() < 0.05:
                    rows.append((0, 0, int(rng.integers(16)), int(rng.integers(parts)), 0))
                    data.append(rng.integers(0, 1 << 32, lanes, np.uint32))
                    recent = [*recent[1:], None]
                rows.append((0, 1, int(w) % 16, part, 0))
                data.append(x[w, lanes * part : lanes * (part + 1)].view(np.uint32))
                recent = [*recent[1:], (int(w) % 16, part)]
        rows.append((0, 0, 0, 0, 1))
        data.append(np.zeros(lanes, np.uint32))
        vectors.append(np.where(kept[:, None], x, np.float32(0)).reshape(-1))
        ends.append(len(rows))
        rows += [(0, 0, 0, 0, 0)] * TREE
        data += [rng.integers(0, 1 << 32, lanes, np.uint32)] * TREE
    columns = np.array(rows)
    names = ("clear_i", "valid_i", "row_i", "part_i", "finish_i")
    # the accumulators of words that are skipped stay as they are: the reference adds +0 there, which changes nothing
    out = player.run(
        rst_ni=np.arange(len(rows)) >= 3, data_i=np.array(data), **{name: columns[:, i] for i, name in enumerate(names)}
    )
    done = np.flatnonzero(out["done_o"][3:]) + 3
    assert len(done) == len(ends) and all(e < d < e + TREE for e, d in zip(ends, done, strict=True))
    with np.errstate(all="ignore"):
        want = [int(np.float32(fp32.ordered_sum(v)).view(np.uint32)) if v.size else 0 for v in vectors]
    assert [hex(int(x)) for x in out["sum_o"][done]] == [hex(x) for x in want]
