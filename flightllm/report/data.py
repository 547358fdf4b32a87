"""What a report says. The page is made from this and from nothing else, and `--json` prints it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flightllm.performance import Phase


@dataclass(frozen=True)
class Row:
    """An operator or a layer in a phase.

    cycles: charged to it; those of all rows add up to the phase's. share: of them. elapsed: from the begin of its first instruction to the end of its
    last one, summed over its places in the layers and over runs; rows overlap, so that these do not add up. first, last: that begin and that end, cycles of the phase's last
    run; None if it did nothing there. busy: unit -> cycles in which the unit works on it; W is None where nobody says (RTL). moved: bytes, all channels.
    macs: multiply-adds as of dense weights, padding included.
    """

    name: str
    cycles: int
    share: float
    elapsed: int
    first: int | None
    last: int | None
    instructions: int
    busy: dict[str, int | None]
    moved: int
    macs: int


@dataclass(frozen=True)
class ChannelTraffic:
    """A memory channel in a phase. read, written: bytes. gbps: of both, 10^9 bytes/s. modelled: by itself; if not, it has the figures of one that is."""

    core: int
    channel: int
    read: int
    written: int
    gbps: float
    modelled: bool


@dataclass(frozen=True)
class Limits:
    """The least time that a phase could take, and what would make it so.

    bytes: that every way to compute it must move: weights as they are stored (once a run), and the cache. weights, cache: of them. tokens_per_second_measured,
    tokens_per_second_peak: if the memory did nothing but move these, at the rate that was measured, and at its peak. tokens_per_second_array: if the array
    did nothing but multiply. share: of the lowest of "measured" and "array" that the phase reaches. bound: "memory" or "array".
    """

    bytes: int
    weights: int
    cache: int
    tokens_per_second_measured: float
    tokens_per_second_peak: float
    tokens_per_second_array: float
    share: float
    bound: str


@dataclass(frozen=True)
class UnitTimeline:
    """Instructions in a unit, in order, as columns: begin and end in cycles, program counter, and indices into the names of the `RunTimeline`."""

    begin: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    pc: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    operator: list[int] = field(default_factory=list)
    layer: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class RunTimeline:
    """What every unit of a core did in one run: from the tokens of an instruction (W: its begin) to its end.

    title: which run. kinds, operators, layers: names. units: without W where nobody says (RTL); "Q" has a cycle for each dispatch, begin and end alike.
    merged: neighbours of a unit, operator and layer are one entry each, because there were too many.
    """

    title: str
    core: int
    cycles: int
    kinds: list[str]
    operators: list[str]
    layers: list[str]
    units: dict[str, UnitTimeline]
    merged: bool


@dataclass(frozen=True)
class PhaseReport:
    """A prompt, or a generated token.

    title: for people. measured: in RTL; else modelled. model_cycles: of the cycle model, for the same runs. phase: the figures that `flightllm speed` gives. busy: unit -> cycles in which an instruction is
    in it, waiting included, mean of the cores. macs: all operators. intensity: macs by byte moved. gmacs: 10^9 macs a second.
    """

    title: str
    measured: bool
    model_cycles: int
    phase: Phase
    runs: int
    busy: dict[str, float]
    moved: int
    macs: int
    intensity: float
    gmacs: float
    limits: Limits
    operators: list[Row]
    layers: list[Row]
    channels: list[ChannelTraffic]
    timeline: RunTimeline


@dataclass(frozen=True)
class Roofline:
    """gmacs_token, gmacs_prompt: 10^9 multiply-adds a second of the array, with one token and with two or more. gbps_peak, gbps_measured: of all channels used."""

    gmacs_token: float
    gmacs_prompt: float
    gbps_peak: float
    gbps_measured: float


@dataclass(frozen=True)
class RegionRow:
    """A region of the memory map; bytes of one channel."""

    name: str
    kind: str
    addr: int
    bytes: int


@dataclass(frozen=True)
class MemoryMap:
    """One channel's; all channels have the same. capacity, used: bytes. kinds: kind -> bytes. channels: of all cores. max_context: positions of the cache."""

    capacity: int
    used: int
    channels: int
    max_context: int
    kinds: dict[str, int]
    regions: list[RegionRow]


@dataclass(frozen=True)
class ResourceRow:
    """One resource: what the config needs, what the board has, what FlightLLM took on its U280. estimate: by Yosys, not by design. error: percent, the worst
    of the references that the estimator was not fitted to. text: in words, if it does not fit, or hardly."""

    name: str
    need: float
    have: float
    fits: bool
    estimate: bool
    error: float | None
    flightllm: int | None
    text: str


@dataclass(frozen=True)
class Published:
    """A result that others published; tokens_per_second of a generated token. how: "measured" or "simulated". comparable: it is of a model of these shapes."""

    system: str
    board: str
    memory_gbps: float
    model: str
    bits: str
    tokens_per_second: float
    how: str
    source: str
    context: int | None = None
    comparable: bool = False
    same_board: bool = False


@dataclass(frozen=True)
class Ratio:
    """A phase of this report beside a published result of the same shapes, board and context. ratio: ours / theirs, tokens a second."""

    phase: str
    system: str
    ours: float
    our_how: str
    theirs: float
    how: str
    ratio: float


@dataclass(frozen=True)
class AccuracyRow:
    """A run in RTL and on the cycle model: cycles, share by which the model's are off, and of the busy cycles of each unit."""

    name: str
    rtl: int
    model: int
    off: float
    units: dict[str, float]
    date: str
    commit: str


@dataclass(frozen=True)
class Accuracy:
    """How far the cycle model is from the RTL. low, high: of the share that cycles are off. busy: the largest of the busy cycles, either way. beyond: what of this
    report lies outside of what was compared, in words."""

    low: float
    high: float
    busy: float
    rows: list[AccuracyRow]
    beyond: list[str]


@dataclass(frozen=True)
class Report:
    """The whole report. source: "shapes" (weights were not read) or "package". shape: dim, ffn, layers, vocab. command: that makes it again.
    comparable_model: of the published ones, that with the same shapes; "" if there is none."""

    title: str
    version: str
    date: str
    command: str
    source: str
    model: dict[str, Any]
    shape: dict[str, int]
    board: dict[str, Any]
    config: dict[str, Any]
    phases: list[PhaseReport]
    roofline: Roofline
    memory_map: MemoryMap
    resources: list[ResourceRow]
    published: list[Published]
    comparable_model: str
    ratios: list[Ratio]
    accuracy: Accuracy
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it, and as the page has it."""
        return asdict(self)
