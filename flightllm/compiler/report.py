"""What a compile wrote: the tables at its end and the same as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flightllm.compress.plan import TensorReport
from flightllm.package import Manifest

Table = tuple[str, list[str], list[list[str]]]


@dataclass(repr=False)
class CompileReport:
    """Result of `compile_model`. path: the package. program_bytes: encoded program. tokens: dependency tokens. onchip: memory ->
    (peak, capacity) in its units. coded: one row per compressed weight. notes: what was done differently from what was asked for.
    hints: what a user could do better (not in the JSON).
    """

    path: str
    manifest: Manifest
    program_bytes: int
    tokens: int
    onchip: dict[str, tuple[int, int]]
    coded: list[TensorReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        """In one line: the manifest alone would be hundreds."""
        count = self.manifest.instructions
        return f"<CompileReport of {self.path}: {count:,} instructions, {self.memory_bytes:,} bytes per channel>"

    @property
    def memory_bytes(self) -> int:
        """Bytes of each channel in use, KV cache and program included."""
        return max(r.end for r in self.manifest.memory)

    def by_kind(self) -> dict[str, int]:
        """Bytes per channel by kind of region."""
        kinds: dict[str, int] = {}
        for region in self.manifest.memory:
            kinds[region.kind] = kinds.get(region.kind, 0) + region.bytes
        return kinds

    def tables(self) -> list[Table]:
        """(title, column heads, rows) of each table for people."""
        m = self.manifest
        arch = m.arch
        channels = arch.channels * arch.cores
        formats: dict[str, list[float]] = {}
        for t in m.tensors:
            for text, share in t.formats.items():
                row = formats.setdefault(text, [0.0, 0.0])
                row[0] += share * t.rows * t.k
                row[1] += share * t.bits_per_weight * t.rows * t.k
        weights = [
            [text, f"{int(n):,}", f"{bits / n:.3f}"]
            for text, (n, bits) in sorted(formats.items(), key=lambda x: -x[1][0])
        ]
        total = sum(n for n, _ in formats.values())
        weights.append(["all", f"{int(total):,}", f"{m.bits_per_weight():.3f}"])
        memory = [
            [kind, f"{size:,}", f"{size * channels:,}", f"{100 * size / arch.channel_bytes:.2f} %"]
            for kind, size in self.by_kind().items()
        ]
        memory.append(
            [
                "all",
                f"{self.memory_bytes:,}",
                f"{self.memory_bytes * channels:,}",
                f"{100 * self.memory_bytes / arch.channel_bytes:.2f} %",
            ]
        )
        chip = [
            [name, f"{peak:,}", f"{size:,}", f"{100 * peak / size:.1f} %"] for name, (peak, size) in self.onchip.items()
        ]
        written = [
            ["package", self.path],
            ["model", f"{m.model.arch}, {m.model.layers} layers, vocabulary {m.model.vocab}"],
            ["board", f"{m.board} (config {m.arch_digest})"],
            [
                "program",
                f"{m.instructions:,} instructions, {self.program_bytes:,} bytes, {self.tokens:,} dependency tokens",
            ],
            ["images", f"{channels} channels x {m.image_bytes:,} bytes"],
            [
                "serves",
                f"chunks of 1..{m.limits.max_chunk} tokens, context of {m.limits.max_context:,}, KV {m.kv_bits} bits",
            ],
        ]
        out: list[Table] = [
            ("Written", ["what", "value"], written),
            ("Weights", ["format", "weights", "bits per weight, all included"], weights),
            (f"Memory ({channels} channels)", ["kind", "bytes per channel", "bytes in all", "of a channel"], memory),
            ("On chip, per core", ["memory", "peak", "capacity", "used"], chip),
        ]
        if self.notes:
            out.append(("Notes", ["note"], [[n] for n in self.notes]))
        if self.hints:
            out.append(("Hints", ["hint"], [[h] for h in self.hints]))
        return out

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "path": self.path,
            "instructions": self.manifest.instructions,
            "program_bytes": self.program_bytes,
            "tokens": self.tokens,
            "memory_bytes_per_channel": self.memory_bytes,
            "memory_by_kind": self.by_kind(),
            "bits_per_weight": self.manifest.bits_per_weight(),
            "on_chip": {k: {"peak": p, "capacity": c} for k, (p, c) in self.onchip.items()},
            "max_chunk": self.manifest.limits.max_chunk,
            "max_context": self.manifest.limits.max_context,
            "tensors": [asdict(t) for t in self.manifest.tensors],
            "coded": [t.to_dict() for t in self.coded],
            "notes": self.notes,
        }
