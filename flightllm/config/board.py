"""Boards: what a card offers. Whether an architecture config fits it says `flightllm.resources`."""

from __future__ import annotations

import os
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from flightllm.config import board_build
from flightllm.config.arch import ArchConfig
from flightllm.config.board_build import Build
from flightllm.config.paths import data_dir
from flightllm.errors import ConfigError

#: tool flows that build the hardware; "none" is a board that exists in simulation only
FLOWS = (*board_build.KINDS, "none")


@dataclass(frozen=True)
class Resources:
    """Counts of the whole device. What a card's shell takes of them is not subtracted."""

    dsp: int
    bram36: int
    uram: int
    lut: int
    ff: int


@dataclass(frozen=True)
class BoardMemory:
    """Off-chip memory as the accelerator sees it."""

    #: "HBM2", "HBM2e", "DDR4", "simulated"
    kind: str
    #: channels that can be bound to one memory channel of a core each
    channels: int
    #: bytes behind one channel
    channel_bytes: int
    #: peak rate of one channel, 10^9 bytes/s
    channel_gbps: float
    #: sequential read rate of one channel, 10^9 bytes/s; the board file says whether it was measured or is an estimate
    measured_gbps: float
    #: idle read latency in ns: row open, row closed, another row open
    latency_ns: tuple[float, ...]
    #: super logic region at which the memory ports are
    slr: int


@dataclass(frozen=True)
class Board:
    """One board file."""

    #: name on the command line, the file's name without ".toml"
    name: str
    title: str
    #: device, as the vendor's tools name it; "" if simulated
    part: str
    #: Vitis platform; "" if the flow needs none
    platform: str
    #: one of FLOWS
    flow: str
    #: super logic regions
    slrs: int
    #: highest kernel clock a config may ask for
    clock_mhz_max: float
    resources: Resources
    memory: BoardMemory
    #: for `flightllm build`; None if the flow is "none"
    build: Build | None
    #: default architecture config
    arch: ArchConfig

    def with_arch(self, arch: ArchConfig) -> Board:
        """The same board with another default config."""
        return replace(self, arch=arch)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary (for --json)."""
        return asdict(self)


def list_boards() -> list[str]:
    """Names of the boards that come with flightllm."""
    return sorted(p.stem for p in data_dir("boards").glob("*.toml"))


def boards() -> list[Board]:
    """The boards that come with flightllm, by name."""
    return [load_board(name) for name in list_boards()]


def load_board(name: str | os.PathLike[str]) -> Board:
    """A board by name, or by path of a board file (it ends in `.toml`).

    Raises:
        ConfigError: unknown board, or a file that cannot be read, lacks fields, or has wrong ones.
    """
    path = Path(name)
    if path.suffix != ".toml":
        known = list_boards()
        if str(name) not in known:
            raise ConfigError(f"there is no board {str(name)!r}", do=f"known: {', '.join(known)}; or give a .toml file")
        path = data_dir("boards") / f"{name}.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "the board file cannot be read",
            where=str(path),
            why=error.strerror or str(error),
            do="give the name of a board (`flightllm boards`), or the path of a readable .toml file",
        ) from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(
            "the board file is not TOML",
            where=str(path),
            why=str(error),
            do="correct the line named; the board files that come with flightllm are examples",
        ) from None
    return _board(data, str(path))


def _board(data: dict[str, Any], where: str) -> Board:
    """Parsed TOML -> Board."""
    for key, kind in (("resources", Resources), ("memory", BoardMemory)):
        data[key] = _record(kind, data.get(key), f"{where}: [{key}]")
    arch = data.get("arch")
    if not isinstance(arch, dict):
        raise ConfigError(
            "the board file has no table [arch]",
            where=where,
            do="add it; the board files that come with flightllm are examples",
        )
    data["arch"] = ArchConfig.from_dict(arch, f"{where}: [arch]")
    data["build"] = _build(data.get("flow"), data.get("build"), where)
    board: Board = _record(Board, data, where)
    wrong = [
        (board.flow not in FLOWS, f"flow = {board.flow!r}", f"one of {', '.join(FLOWS)}"),
        (board.slrs < 1, f"slrs = {board.slrs}", "at least 1"),
        (not 0 <= board.memory.slr < max(board.slrs, 1), f"memory.slr = {board.memory.slr}", "0 to slrs - 1"),
        (
            len(board.memory.latency_ns) != 3,
            "memory.latency_ns",
            "three figures: row open, row closed, another row open",
        ),
        (
            board.memory.measured_gbps > board.memory.channel_gbps,
            f"memory.measured_gbps = {board.memory.measured_gbps}",
            f"not above the peak, channel_gbps = {board.memory.channel_gbps}",
        ),
    ]
    if board.build is not None:
        memory = board.memory
        wrong += board_build.problems(board.build, board.slrs, memory.channels, memory.channel_bytes)
    for bad, what, rule in wrong:
        if bad:
            raise ConfigError(
                f"{what} is not legal", where=where, why=f"it has to be {rule}", do="change it in the board file"
            )
    return board


def _build(flow: Any, table: Any, where: str) -> Build | None:
    """The table [build], of the kind that the flow wants."""
    kind = board_build.KINDS.get(flow) if isinstance(flow, str) else None
    if kind is not None:
        build: Build = _record(kind, table, f"{where}: [build]")
        return build
    if table is not None and flow == "none":
        raise ConfigError(
            "the table [build] has no use",
            where=f"{where}: [build]",
            why='flow = "none" is a board that exists in simulation only',
            do="remove the table, or name the flow",
        )
    return None  # what else the flow may be, its own check refuses


def _record(kind: Any, data: Any, where: str) -> Any:
    """Dictionary -> dataclass, with every field given and of its type, and no number negative."""
    known = get_type_hints(kind)
    if not isinstance(data, dict):
        raise ConfigError("a table is missing", where=where, do=f"its fields: {', '.join(known)}")
    missing, unknown = sorted(set(known) - set(data)), sorted(set(data) - set(known))
    if missing or unknown:
        parts = [f"{text} {', '.join(names)}" for text, names in (("missing", missing), ("unknown", unknown)) if names]
        raise ConfigError(f"fields {'; '.join(parts)}", where=where, do=f"fields: {', '.join(known)}")
    return kind(**{name: _typed(name, data[name], hint, where) for name, hint in known.items()})


def _typed(name: str, value: Any, hint: Any, where: str) -> Any:
    """The value, if it is of the field's type and, being a number, is finite and not negative."""
    numbers = value if isinstance(value, list) else [value]
    kinds: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), tuple[float, ...]: (list,)}
    if hint == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(x, str) and x for x in value):
            raise ConfigError(
                f"{name} = {value!r} is not legal",
                where=where,
                why="it has to be a list of names",
                do="change it in the board file",
            )
        return tuple(value)
    if hint == tuple[int, ...]:
        if not isinstance(value, list) or not all(type(x) is int and 0 <= x < 1e18 for x in value):
            raise ConfigError(
                f"{name} = {value!r} is not legal",
                where=where,
                why="it has to be a list of whole numbers, not negative",
                do="change it in the board file",
            )
        return tuple(value)
    ok = isinstance(value, kinds.get(hint, (hint if isinstance(hint, type) else object,)))
    if hint in kinds:
        ok = ok and all(isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < 1e18 for x in numbers)
    if not ok:
        text = "a list of numbers" if hint == tuple[float, ...] else getattr(hint, "__name__", str(hint))
        raise ConfigError(
            f"{name} = {value!r} is not legal",
            where=where,
            why=f"it has to be {text}, not negative",
            do="change it in the board file",
        )
    return tuple(value) if isinstance(value, list) else value
