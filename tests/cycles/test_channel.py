"""A channel of the cycle model: latency of a burst, rate of many, turns between clients, writes between reads; rings and gathering."""

from __future__ import annotations

from itertools import pairwise

import pytest

from flightllm.cycles.channel import BEAT, FETCH, LOADS, WEIGHTS, Channel
from flightllm.cycles.gather import Gather
from flightllm.cycles.kernel import Kernel
from flightllm.cycles.rings import Ring
from flightllm.sim.hbm import HbmTiming

PERIOD = 1000 / 225


def channel(timing: HbmTiming | None = None, port_bits: int = 512) -> tuple[Kernel, Channel]:
    kernel = Kernel()
    return kernel, Channel(kernel, timing or HbmTiming(), 0.0, PERIOD, port_bits)


def test_one_beat_takes_the_latency_of_the_memory():
    kernel, memory = channel()
    came = []
    memory.request(LOADS, 0, 1, lambda first, last, beats: came.append((first, last, beats)))
    kernel.run(10_000)
    t = HbmTiming()
    # to the port, row closed, two column accesses, back
    ns = t.hit_ns + t.activate_ns + t.ccd_short_ns
    assert came == [(pytest.approx(2 + ns / PERIOD, abs=1.0),) * 2 + (1,)]
    assert memory.read_beats == 1


def test_long_reads_come_at_the_rate_of_the_memory():
    kernel, memory = channel(HbmTiming.ideal())
    came = []

    def asks():
        for k in range(40):
            while memory.busy(WEIGHTS):
                yield memory.free[WEIGHTS]
            memory.request(WEIGHTS, k * 32 * BEAT, 32, lambda *burst: came.append(burst))
            yield kernel.now + 1

    kernel.start(asks())
    kernel.run(10_000)
    assert sum(beats for _, _, beats in came) == 40 * 32
    assert came[-1][1] - came[0][0] == 40 * 32 - 1, "a beat a cycle"
    assert all(b[0] == a[1] + 1 for a, b in pairwise(came))


def test_requests_are_cut_at_4_kb_and_clients_take_turns():
    kernel, memory = channel()
    order = []
    for client in (FETCH, WEIGHTS):
        memory.request(client, 4096 - 128, 80, lambda first, last, beats, c=client: order.append((c, beats)))
    kernel.run(10_000)
    assert order == [(FETCH, 2), (WEIGHTS, 2), (FETCH, 64), (WEIGHTS, 64), (FETCH, 14), (WEIGHTS, 14)]


def test_a_narrow_port_takes_several_cycles_a_beat():
    kernel, memory = channel(HbmTiming.ideal(), 128)
    came = []
    memory.request(LOADS, 0, 10, lambda *burst: came.append(burst))
    kernel.run(1000)
    assert came[0][1] - came[0][0] == 4 * 9


def test_writes_wait_for_reads_but_not_for_ever():
    kernel, memory = channel()
    reads, answered = [], []

    def asks():
        for k in range(12):
            while memory.busy(WEIGHTS):
                yield memory.free[WEIGHTS]
            memory.request(WEIGHTS, k << 12, 64, lambda *burst: reads.append(burst))
            yield kernel.now + 1

    def writes():
        yield 40
        memory.write(1 << 20, BEAT)
        yield from memory.answered()
        answered.append(kernel.now)

    kernel.start(asks())
    kernel.start(writes())
    kernel.run(10_000)
    assert memory.written_bytes == BEAT
    assert 40 + 500 / PERIOD < answered[0] < reads[-1][1], "after 500 ns, before the last read"


def test_a_refresh_comes_when_it_would_have_without_a_pause():
    for start in (0.0, 5000.0, 1e6):
        memory = channel()[1].memory
        memory.begin(start * PERIOD)
        first, every = HbmTiming().refresh_every_ns / 2, HbmTiming().refresh_every_ns
        due = memory.next_refresh + start * PERIOD
        assert due >= start * PERIOD
        assert (due - first) / every == pytest.approx(round((due - first) / every), abs=1e-6)


def test_a_ring_says_when_words_come_and_when_there_is_room():
    kernel = Kernel()
    ring = Ring(kernel, 64)
    ring.put(32, 100, 103)  # four beats
    ring.put(8, 200, 200)
    assert [ring.time_of(w) for w in (1, 8, 9, 32, 33, 40)] == [100, 100, 101, 103, 200, 200]
    assert ring.room_for(64) == 0.0
    assert ring.room_for(72) is None
    ring.pop(4, 110)
    assert ring.room_for(72) is None
    ring.pop(8, 120)
    assert ring.room_for(72) == 120


def test_a_ring_says_whether_words_have_come():
    ring = Ring(Kernel(), 64)
    ring.put(32, 100, 103)
    ring.put(32, 200, 203)
    assert not ring.come(8, 102), "only pieces that have come whole count"
    assert ring.time_of(8) == 100
    assert ring.come(32, 103)
    assert ring.time_of(32) <= 103
    assert not ring.come(33, 150)
    assert ring.come(64, 203)
    assert not ring.come(65, 1000), "not coming yet"


def test_a_pop_wakes_whom_it_makes_room_for():
    kernel, woken = Kernel(), []
    ring = Ring(kernel, 64)

    def fills():
        while ring.room_for(80) is None:
            yield ring.popped
            woken.append(kernel.now)

    def pops():
        for words in (8, 15, 16):
            yield words
            ring.pop(words, words)

    kernel.start(fills())
    kernel.start(pops())
    kernel.run(100)
    assert woken == [16]


def test_gathering_waits_for_the_slowest():
    found = []
    gather = Gather(3, lambda *burst: found.append(burst))
    arrivals = [gather.of(c) for c in range(3)]
    arrivals[0](10, 20, 8)
    arrivals[0](21, 30, 8)
    arrivals[2](12, 19, 8)
    assert not found
    arrivals[1](5, 25, 8)
    assert found == [(12, 25, 8)]
    arrivals[1](26, 30, 8)
    arrivals[2](20, 40, 8)
    assert found[1:] == [(26, 40, 8)]
