"""Whole generations of tiny-austen on the kernel in RTL: every logit and, after each run, every byte of memory."""

from __future__ import annotations

import time
from itertools import combinations, product

import pytest
from generation import ATTENTION, CHUNKS, NEW, PROMPT, WEIGHTS, Case
from side_by_side import Lockstep

from flightllm.sim.simulator import SimOptions

#: few runs and builds in which every value of every column is there
SAMPLE = (
    Case(1, 4, 8, ("2 bits", "3 bits", "4 bits", "5 bits"), 8, "mask"),
    Case(2, 2, 4, ("mixed", "two passes", "2:16", "4:16"), 4, "window"),
    Case(3, 1, 12, ("6 bits", "8 bits", "8:16", "mixed"), 4, "full", 2),
)


def vpus_of(cores: int, channels: int) -> int:
    """A Latin square: every number of VPUs meets every number of cores and of channels; the configs of the sample are in it."""
    return (4, 8, 12)[(cores + 2 * (1, 2, 4).index(channels) + 2) % 3]


def chain_vpus_of(cores: int, channels: int) -> int:
    """Two VPUs share a chain in every second config: of each number of cores, channels and VPUs."""
    return 2 - (cores + (1, 2, 4).index(channels)) % 2


def matrix() -> list[Case]:
    """Every two values of different columns meet in some case: cores, channels, VPUs, weights, cache, attention, VPUs of a chain."""
    cases = []
    for (i, weights), cores in product(enumerate(WEIGHTS), (1, 2, 3, 4)):
        place = (i + 2 * cores) % 3
        channels, kv, attention = (1, 2, 4)[place], (8, 4)[(i + cores) % 2], tuple(ATTENTION)[(i // 3 + place) % 3]
        vpus, chain_vpus = vpus_of(cores, channels), chain_vpus_of(cores, channels)
        cases.append(Case(cores, channels, vpus, weights, kv, attention, chain_vpus))
    return cases


def generate(case: Case, tmp_path, options: SimOptions | None = None) -> dict[str, float]:
    """Cycles of the kernel, wall and CPU seconds of a whole generation in lockstep."""
    both = Lockstep(case.package(tmp_path / "austen.flpkg"), options)
    wall, cpu = time.perf_counter(), time.process_time()
    both.generate(PROMPT, CHUNKS, NEW)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    both.close()
    return {"cycles": both.cycles, "seconds": round(wall, 1), "cpu": round(cpu, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_generation(case, tmp_path):
    generate(case, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("case", matrix(), ids=lambda case: case.name)
def test_every_pair_of_properties(case, tmp_path, figures):
    figures("generation", case.name, **generate(case, tmp_path))


def test_the_matrix_has_every_pair():
    """Of values of different columns, and the sample every value."""

    def values(case: Case) -> list[set[tuple[str, object]]]:
        weights = {case.weights} if isinstance(case.weights, str) else set(case.weights)
        rest = {name: {getattr(case, name)} for name in ("cores", "channels", "vpus", "kv", "attention", "chain_vpus")}
        return [{(name, v) for v in some} for name, some in (rest | {"weights": weights}).items()]

    columns = {"cores": (1, 2, 3, 4), "channels": (1, 2, 4), "vpus": (4, 8, 12), "kv": (8, 4), "chain_vpus": (1, 2)}
    columns |= {"attention": tuple(ATTENTION), "weights": tuple(WEIGHTS)}
    single = {(name, v) for name, some in columns.items() for v in some} - {("cores", 4)}
    assert single <= {v for case in SAMPLE for some in values(case) for v in some}
    wanted = {frozenset(((a, x), (b, y))) for a, b in combinations(columns, 2) for x in columns[a] for y in columns[b]}
    found = {frozenset(p) for case in matrix() for a, b in combinations(values(case), 2) for p in product(a, b)}
    assert wanted <= found, sorted(map(sorted, wanted - found))


#: extra latency of a burst in ns, share of cycles in which a channel is not ready
DELAYS = ((0.0, 0.5), (800.0, 0.0), (250.0, 0.3), (40.0, 0.9))


def delayed(seed: int) -> SimOptions:
    jitter, stall = DELAYS[seed % len(DELAYS)]
    return SimOptions(jitter_ns=jitter, stall=stall, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_delays_change_no_bit(seed, tmp_path):
    """A short generation in which memory and bus master wait at random; the rings are small."""
    both = Lockstep(SAMPLE[1].package(tmp_path / "austen.flpkg"), delayed(seed))
    both.generate(PROMPT[:45], [32, 13], 4)
    both.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, 11))
def test_delays_change_no_bit_of_a_whole_generation(seed, tmp_path, figures):
    case, options = SAMPLE[seed % 2], delayed(seed)
    found = generate(case, tmp_path, options)
    name = f"{case.name}; up to {options.jitter_ns:g} ns more, {100 * options.stall:g} % stalled, seed {seed}"
    figures("delays", name, **found)
