"""The manifest of a package: everything a host or an executor must know that is not in the program or the images.

All addresses and sizes are bytes *per channel*; every channel of every core has the same address map (docs/machine.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, get_args
from typing import Literal as _Literal

from flightllm.config.arch import ArchConfig
from flightllm.errors import PackageError
from flightllm.isa.blocks import BLOCK_POSITIONS
from flightllm.package import codec

FORMAT = "flightllm-package"
FORMAT_VERSION = 1
#: bytes of one encoded instruction in program.bin; a package is read without the instruction set (a test compares)
INSTRUCTION_BYTES = 64
#: alignment of every region
ALIGN = 64

RegionKind = _Literal["program", "weights", "vectors", "embed", "kv", "io", "scratch"]
REGION_KINDS: tuple[str, ...] = get_args(RegionKind)


@dataclass(frozen=True)
class Region:
    """A piece of the memory map. `addr`, `bytes`: per channel. kind: one of `REGION_KINDS`."""

    name: str
    addr: int
    bytes: int
    kind: str

    @property
    def end(self) -> int:
        """First address behind the region."""
        return self.addr + self.bytes


@dataclass(frozen=True)
class TensorRecord:
    """One matrix (or table) as it stands in memory.

    node: graph name. rows, k: its logical shape, all cores together. formats: name of a number format (e.g. "4b g32 affine",
    "8b 2:16") -> share of the weights stored in it, 0..1. bits_per_weight: all stored bytes (scales, headers, padding, all cores
    and channels) * 8 / (rows * k). addr, bytes: its stream, per channel.
    """

    node: str
    rows: int
    k: int
    formats: dict[str, float]
    bits_per_weight: float
    addr: int
    bytes: int


@dataclass(frozen=True)
class ModelFacts:
    """Facts about the model. vocab: logits per token. max_context: what the model was made for (see `Limits`)."""

    arch: str
    vocab: int
    max_context: int
    layers: int
    dim: int
    bos: int | None = None
    eos: tuple[int, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What this program serves: tokens per run of the program, positions of the KV cache. block: a run's positions lie between two multiples of it
    (64 if the program has block masks, which have a row for so many positions); 0: anywhere.
    """

    max_chunk: int
    max_context: int
    block: int = 0

    def room(self, pos: int) -> int:
        """Tokens that a run from `pos` may have."""
        return min(self.max_chunk, self.block - pos % self.block) if self.block else self.max_chunk


@dataclass(frozen=True)
class HostInterface:
    """Where the host meets the program.

    ids_addr: int32 token ids on channel 0 of each core. logits_addr: first logits row; logits_stride: bytes per token row and
    channel; a core's row is striped fp32: logit e of the core at channel e % C, offset (e // C) * 4.
    logits_parts: logits held by each core, in order of the vocabulary; their sum is the vocabulary. With one core: (vocab,).
    """

    ids_addr: int
    logits_addr: int
    logits_stride: int
    logits_parts: tuple[int, ...]


@dataclass(frozen=True)
class MemoryTiming:
    """What the board's file says of one memory channel: rates in 10^9 bytes/s (peak, sequential reads), idle latencies in ns (row open, closed, another)."""

    channel_gbps: float
    measured_gbps: float
    latency_ns: tuple[float, ...]


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 (hex) of one file of the package."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The whole manifest. `instructions`, `image_bytes` and `files` are filled in by `PackageWriter.commit`.

    kv_bits: bits of a KV-cache code, 8 or 4. memory: non-overlapping regions. tensors: in execution order. buffers: on-chip space
    ("VB", "AB") -> base address in decimal -> name, for listings.
    memory_timing: of the board's channels, for simulations; None: as a U280.
    image_bytes: size of each core<k>.ch<c>.bin: the constant part of the memory map. notes: free-form JSON for people and tools;
    nothing may depend on it to execute the program.
    """

    name: str
    board: str
    arch: ArchConfig
    model: ModelFacts
    limits: Limits
    host: HostInterface
    kv_bits: int
    memory: tuple[Region, ...]
    tensors: tuple[TensorRecord, ...]
    buffers: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    instructions: int = 0
    image_bytes: int = 0
    files: dict[str, FileRecord] = field(default_factory=dict)
    memory_timing: MemoryTiming | None = None

    @property
    def arch_digest(self) -> str:
        """16 hex digits naming the architecture config."""
        return self.arch.digest()

    def region(self, name: str) -> Region:
        """The region called `name`; KeyError if there is none."""
        for region in self.memory:
            if region.name == name:
                return region
        raise KeyError(name)

    def program_region(self) -> Region:
        """The region that the program goes to; PackageError if there is none, or it is too small."""
        size = self.instructions * INSTRUCTION_BYTES
        for region in self.memory:
            if region.name == "program" and region.bytes >= size:
                return region
        why = f'a region "program" of {size} bytes is missing in its memory map'
        raise PackageError("the package cannot run on the kernel", where=self.name, why=why, do="compile it again")

    def symbols(self) -> dict[str, dict[int, str]]:
        """Space ("MEM", "VB", "AB") -> base address -> name; tensors go before regions where both begin at one address."""
        memory = {r.addr: r.name for r in self.memory} | {t.addr: t.node for t in self.tensors}
        spaces = {space: {int(a): n for a, n in names.items()} for space, names in self.buffers.items()}
        return {"MEM": dict(sorted(memory.items())), **spaces}

    def sections(self) -> dict[int, str]:
        """pc -> heading printed before that line of the listing; empty if the package has none."""
        noted = self.notes.get("sections", {})
        return {int(pc): str(name) for pc, name in noted.items()} if isinstance(noted, dict) else {}

    def bits_per_weight(self) -> float:
        """Stored bits per weight over all tensors, scales, headers and padding included."""
        weights = sum(t.rows * t.k for t in self.tensors)
        return sum(t.bits_per_weight * t.rows * t.k for t in self.tensors) / weights if weights else 0.0

    def to_json(self) -> str:
        """The text of manifest.json; depends on the manifest's values only."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "arch_digest": self.arch_digest}
        return json.dumps(head | codec.encode(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "manifest.json") -> Manifest:
        """Parse and check.

        Raises:
            PackageError: not JSON, another format version, a missing, unknown or ill-typed field, or values that contradict each other.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PackageError("the manifest is not JSON", where=where, why=str(error), do=codec.AGAIN) from None
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise PackageError(
                "not a package manifest",
                where=where,
                why=f'it does not say "format": "{FORMAT}"',
                do="give the folder that `flightllm compile` wrote",
            )
        version = data.pop("format_version", None)
        if type(version) is not int or version != FORMAT_VERSION:
            raise PackageError(
                "the package is of another version",
                where=where,
                why=f"format_version is {codec._describe(version)}, this version reads {FORMAT_VERSION}",
                do="compile the model again with this version",
            )
        digest = data.pop("arch_digest", None)
        manifest = codec.decode(cls, data, where)
        if digest != manifest.arch_digest:
            raise PackageError(
                "field 'arch_digest' is wrong",
                where=where,
                why=f"it says {codec._describe(digest)}, the architecture config in the manifest has {manifest.arch_digest}",
                do=codec.AGAIN,
            )
        manifest.check(where)
        return manifest

    def check(self, where: str = "manifest") -> None:
        """The values agree with each other.

        Raises:
            PackageError: naming the field.
        """
        for name, rule, ok in self._rules():
            if not ok:
                raise PackageError(f"field {name!r} is wrong", where=where, why=f"must be {rule}", do=codec.AGAIN)
        last: Region | None = None
        for region in sorted(self.memory, key=lambda r: (r.addr, r.bytes)):
            if region.kind not in REGION_KINDS:
                why = f"region {region.name!r} has kind {region.kind!r}; known: {', '.join(REGION_KINDS)}"
                raise PackageError("field 'memory' is wrong", where=where, why=why, do=codec.AGAIN)
            if region.addr < 0 or region.bytes < 0 or region.addr % ALIGN or region.end > self.arch.channel_bytes:
                why = f"region {region.name!r}, {region.addr:#x} to {region.end:#x}, is not aligned to {ALIGN} or not inside the "
                why += f"{self.arch.channel_bytes} bytes of a channel"
                raise PackageError("field 'memory' is wrong", where=where, why=why, do=codec.AGAIN)
            if last is not None and region.addr < last.end:
                why = f"regions {last.name!r} and {region.name!r} overlap at {region.addr:#x}"
                raise PackageError("field 'memory' is wrong", where=where, why=why, do=codec.AGAIN)
            last = region

    def _rules(self) -> list[tuple[str, str, bool]]:
        m, lim, host, arch = self.model, self.limits, self.host, self.arch
        rows = -(-max(host.logits_parts, default=0) // arch.channels)
        names = [r.name for r in self.memory]
        end = max((r.end for r in self.memory), default=0)
        return [
            ("model.vocab", "from 1 to 2^24", 1 <= m.vocab <= 1 << 24),
            ("model.max_context", "from 1 to 2^31", 1 <= m.max_context <= 1 << 31),
            ("model.layers", "from 1 to 10000", 1 <= m.layers <= 10000),
            ("model.dim", "from 1 to 2^24", 1 <= m.dim <= 1 << 24),
            ("model.bos", "a token id", m.bos is None or 0 <= m.bos < m.vocab),
            ("model.eos", "token ids", all(0 <= t < m.vocab for t in m.eos)),
            ("limits.max_chunk", f"from 1 to {arch.max_chunk} (arch)", 1 <= lim.max_chunk <= arch.max_chunk),
            ("limits.max_context", "from 1 to 2^31", 1 <= lim.max_context <= 1 << 31),
            ("limits.block", "0 or 64", lim.block in (0, BLOCK_POSITIONS)),
            ("memory", "at least one region", bool(self.memory)),
            (
                "host.ids_addr",
                f"an address with room for {lim.max_chunk} ids inside the memory map",
                host.ids_addr >= 0 and host.ids_addr % 4 == 0 and host.ids_addr + 4 * lim.max_chunk <= end,
            ),
            (
                "host.logits_addr",
                f"an address with room for {lim.max_chunk} rows of {host.logits_stride} bytes inside the memory map",
                host.logits_addr >= 0
                and host.logits_addr % 4 == 0
                and host.logits_addr + lim.max_chunk * host.logits_stride <= end,
            ),
            ("host.logits_stride", f"at least {4 * rows} bytes", 4 * rows <= host.logits_stride <= arch.channel_bytes),
            (
                "host.logits_parts",
                f"{arch.cores} counts that add up to the vocabulary",
                len(host.logits_parts) == arch.cores
                and min(host.logits_parts) >= 0
                and sum(host.logits_parts) == m.vocab,
            ),
            ("kv_bits", "4 or 8", self.kv_bits in (4, 8)),
            (
                "memory_timing",
                "rates and latencies above zero",
                self.memory_timing is None
                or (
                    min(
                        self.memory_timing.channel_gbps,
                        self.memory_timing.measured_gbps,
                        *self.memory_timing.latency_ns,
                        1,
                    )
                    > 0
                    and bool(self.memory_timing.latency_ns)
                ),
            ),
            ("memory", "regions of different names", len(set(names)) == len(names)),
            (
                "buffers",
                "names by decimal address",
                all(a.isascii() and a.isdigit() and len(a) < 20 for names in self.buffers.values() for a in names),
            ),
            ("instructions", "0 or more", self.instructions >= 0),
            ("image_bytes", "within the memory map", 0 <= self.image_bytes <= end),
            ("tensors", "of positive shape", all(t.rows > 0 and t.k > 0 and t.bytes >= 0 for t in self.tensors)),
        ]
