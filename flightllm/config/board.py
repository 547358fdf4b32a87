"""Boards: what a card offers, and whether an architecture config fits it."""

from __future__ import annotations

import os
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from flightllm.config.arch import ArchConfig
from flightllm.config.paths import data_dir
from flightllm.errors import ConfigError, FitError

#: bytes of one URAM (4,096 x 72 bits, 64 of them data) and one BRAM36 (512 x 72, 64 of them data)
URAM_BYTES, BRAM36_BYTES = 32768, 4096
#: DSPs of a VPU: the chain of 16 and one for the scales
DSP_PER_VPU = 17
#: DSPs of an SFU lane, an estimate until the RTL is synthesised: one fp32 multiplier (2) and the interpolator (3)
DSP_PER_LANE = 5
#: bytes of one 48-bit accumulator
ACCUMULATOR_BYTES = 6


@dataclass(frozen=True)
class Resources:
    """Counts of the whole device."""

    dsp: int
    bram36: int
    uram: int
    lut: int
    ff: int


@dataclass(frozen=True)
class BoardMemory:
    """Off-chip memory. channel_bytes, channel_gbps (10^9 bytes/s, peak), measured_gbps: per channel. latency_ns: page hit, closed, miss."""

    kind: str
    channels: int
    channel_bytes: int
    channel_gbps: float
    measured_gbps: float
    latency_ns: tuple[float, ...]
    slr: int


@dataclass(frozen=True)
class Board:
    """One board file. `arch` is its default architecture config; clock_mhz_max the highest kernel clock a config may ask for."""

    name: str
    title: str
    part: str
    platform: str
    flow: str
    slrs: int
    clock_mhz_max: float
    resources: Resources
    memory: BoardMemory
    arch: ArchConfig

    def with_arch(self, arch: ArchConfig) -> Board:
        """The same board with another default config."""
        return replace(self, arch=arch)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary (for --json)."""
        return asdict(self)


@dataclass(frozen=True)
class FitRow:
    """One resource: what a config needs and what the board has."""

    resource: str
    need: float
    have: float

    @property
    def fits(self) -> bool:
        return self.need <= self.have


def list_boards() -> list[str]:
    """Names of the boards that come with flightllm."""
    return sorted(p.stem for p in data_dir("boards").glob("*.toml"))


def load_board(name: str | os.PathLike[str]) -> Board:
    """A board by name, or by path of a board file.

    Raises:
        ConfigError: unknown board, or a file that cannot be read or has wrong fields.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = data_dir("boards") / f"{name}.toml"
        if not path.is_file():
            raise ConfigError(
                f"there is no board {str(name)!r}", do=f"known: {', '.join(list_boards())}, or the path of a .toml file"
            )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError("the board file cannot be read", where=str(path), why=str(error)) from None
    where = str(path)
    for key, kind in (("resources", Resources), ("memory", BoardMemory)):
        data[key] = _record(kind, data.get(key), f"{where}: [{key}]")
    arch = data.get("arch")
    if not isinstance(arch, dict):
        raise ConfigError("the board file has no [arch]", where=where)
    try:
        data["arch"] = ArchConfig.from_dict(arch, f"{where}: [arch]")
    except TypeError as error:
        raise ConfigError("a field of [arch] has the wrong type", where=where, why=str(error)) from None
    board: Board = _record(Board, data, where)
    return board


def _record(kind: Any, data: Any, where: str) -> Any:
    """Dictionary -> dataclass, with every field given and of its type."""
    if not isinstance(data, dict):
        raise ConfigError("a table is missing", where=where)
    known = {f.name: f.type for f in fields(kind)}
    if set(data) != set(known):
        wrong = sorted(set(data) ^ set(known))
        raise ConfigError(
            f"fields missing or unknown: {', '.join(wrong)}", where=where, do=f"fields: {', '.join(known)}"
        )
    values = dict(data)
    for name, text in known.items():
        value = values[name]
        if text == "tuple[float, ...]":
            ok = isinstance(value, list) and all(isinstance(x, int | float) for x in value)
            values[name] = tuple(value) if ok else value
        else:
            kinds: dict[str, Any] = {"int": int, "float": (int, float), "str": str}
            ok = isinstance(value, kinds.get(str(text), object)) and not isinstance(value, bool)
        if not ok:
            raise ConfigError(f"field {name} = {value!r} is not of type {text}", where=where)
    return kind(**values)


def on_chip_bytes(arch: ArchConfig) -> dict[str, int]:
    """Bytes of every on-chip memory, all cores."""
    return {
        "VB": arch.cores * 4 * arch.vb_elements,
        "AB": arch.cores * 16 * arch.ab_windows,
        "MB": arch.cores * arch.mb_bytes,
        "W rings": arch.cores * arch.channels * arch.w_ring_bytes,
        "K rings": arch.cores * arch.channels * arch.k_ring_bytes,
        "accumulators": arch.cores * arch.channels * arch.vpus * arch.acc_entries * ACCUMULATOR_BYTES,
    }


def fit_rows(board: Board, arch: ArchConfig) -> list[FitRow]:
    """Need and have of every resource that can be known without synthesis."""
    memory = board.resources.uram * URAM_BYTES + board.resources.bram36 * BRAM36_BYTES
    dsp = arch.cores * (arch.channels * arch.vpus * DSP_PER_VPU + arch.lanes * DSP_PER_LANE)
    return [
        FitRow("memory channels", arch.cores * arch.channels, board.memory.channels),
        FitRow("bytes per channel", arch.channel_bytes, board.memory.channel_bytes),
        FitRow("DSP", dsp, board.resources.dsp),
        FitRow("on-chip memory bytes (BRAM and URAM)", sum(on_chip_bytes(arch).values()), memory),
        FitRow("cores (one per SLR)", arch.cores, max(board.slrs, 1) if board.flow != "none" else 4),
        FitRow("clock MHz", arch.clock_mhz, board.clock_mhz_max),
    ]


def check_fit(board: Board, arch: ArchConfig) -> list[FitRow]:
    """The rows of `fit_rows`; FitError with the figures if one does not fit."""
    rows = fit_rows(board, arch)
    wrong = [r for r in rows if not r.fits]
    if wrong:
        raise FitError(
            f"the architecture config does not fit {board.name}",
            why="; ".join(f"{r.resource}: needs {r.need:,}, has {r.have:,}" for r in wrong),
            do="change the config (--set or --arch) or take a larger board",
        )
    return rows
