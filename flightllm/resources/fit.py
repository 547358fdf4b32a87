"""Whether an architecture config fits a board."""

from __future__ import annotations

from dataclasses import dataclass

from flightllm.config.arch import ArchConfig
from flightllm.config.board import Board
from flightllm.errors import FitError
from flightllm.resources.estimate import Estimate, estimate
from flightllm.resources.ladder import DSP_PER_CHAIN, most_cores

#: DSPs of an fp32 multiplier, and of a table function with its two multiply-adds
DSP_PER_MULTIPLIER, DSP_PER_TABLE = 2, 2
#: DSPs of an SFU lane: seven multipliers, two table functions
DSP_PER_LANE = 7 * DSP_PER_MULTIPLIER + 2 * DSP_PER_TABLE
#: share of the board's logic above which little is left
TIGHT = 0.9


@dataclass(frozen=True)
class FitRow:
    """One resource: what a config needs and what the board has.

    Attributes:
        estimate: of logic, by Yosys: too uncertain to refuse a config for it.
        key: its name in the board file's table of resources; "" if it is not in there.
    """

    resource: str
    need: float
    have: float
    estimate: bool = False
    key: str = ""

    @property
    def fits(self) -> bool:
        """Whether the board has enough."""
        return self.need <= self.have


def tightness(row: FitRow, board: Board, name: str) -> str:
    """What to say of logic that fits, but leaves little for the board's shell and for placement; "" of everything else. name: of the board, as it is shown."""
    if not row.estimate or not row.fits or row.need <= TIGHT * row.have or board.flow == "none":
        return ""
    return f"{row.resource}: {100 * row.need / row.have:.0f} % of what {name} has, before what its shell takes"


def dsp_count(arch: ArchConfig) -> int:
    """DSPs of all cores by design: channels * chains * (16 + 4) + lanes * 18 + 4 for each of the min(16, 4 channels) lanes of the drain.

    Synthesis finds a few more, for addresses and counts; that there are only a few says that none was inferred by accident.
    """
    drain = min(16, 4 * arch.channels) * 2 * DSP_PER_MULTIPLIER
    return arch.cores * (arch.channels * arch.chains * DSP_PER_CHAIN + arch.lanes * DSP_PER_LANE + drain)


def fit_rows(board: Board, arch: ArchConfig) -> list[FitRow]:
    """Need and have of every resource. What the board's shell takes is not counted."""
    return _rows(board, estimate(arch))


def _rows(board: Board, found: Estimate) -> list[FitRow]:
    arch, has = found.arch, board.resources
    return [
        FitRow("memory channels", arch.cores * arch.channels, board.memory.channels),
        FitRow("bytes per channel", arch.channel_bytes, board.memory.channel_bytes),
        FitRow("DSP", found.total("dsp"), has.dsp, key="dsp"),
        FitRow("BRAM36", found.total("bram36"), has.bram36, key="bram36"),
        FitRow("URAM", found.total("uram"), has.uram, key="uram"),
        FitRow("LUT (estimate)", found.total("lut"), has.lut, estimate=True, key="lut"),
        FitRow("FF (estimate)", found.total("ff"), has.ff, estimate=True, key="ff"),
        FitRow("cores (one per SLR)", arch.cores, most_cores(board)),
        FitRow("clock MHz", arch.clock_mhz, board.clock_mhz_max),
    ]


def fit_table(rows: list[FitRow]) -> str:
    """The rows as text, need beside have, those that do not fit marked."""
    cells = [(r.resource, f"{r.need:,.10g}", f"{r.have:,.10g}", "" if r.fits else "  <- too much") for r in rows]
    cells.insert(0, ("resource", "needs", "has", ""))
    widths = [max(len(c[i]) for c in cells) for i in range(3)]
    return "\n".join(f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}{d}" for a, b, c, d in cells)


def check_fit(board: Board, arch: ArchConfig) -> list[FitRow]:
    """The rows of `fit_rows`.

    Raises:
        FitError: one does not fit (rows of estimates aside); carries the whole table, where blocks of memory go if these are too many, and the
            nearest config that fits.
    """
    found = estimate(arch)
    rows = _rows(board, found)
    short = [r for r in rows if not r.fits and not r.estimate]
    if not short:
        return rows
    why = f"{len(short)} of {len(rows)} resources do not suffice"
    why += "".join(f"\n    {line}" for line in fit_table(rows).splitlines())
    for resource in ("bram36", "uram"):
        if any(r.resource == resource.upper() for r in short):
            why += f"\n    {resource.upper()}: {_users(found, resource)}"
    from flightllm.resources.nearest import advice  # which needs the rows of this module

    near = advice(board, arch)
    raise FitError(
        f"the architecture config does not fit {board.name}",
        where=board.title,
        why=why,
        do=near or "change the config (--set or --arch) or take a larger board",
    )


def _users(found: Estimate, resource: str) -> str:
    """Units that use a resource, and how much."""
    used = [(row.name, row.total(resource)) for row in found.rows if row.total(resource)]
    return ", ".join(f"{name} {amount:,.10g}" for name, amount in sorted(used, key=lambda u: -u[1]))
