"""What the runtime needs of a card, whichever library drives it; and the choice of that library.

pynq 3.0.1 where it is installed, else `pyxrt`, which comes with XRT. With FLIGHTLLM_CARD in the environment, pynq finds a simulated card
(docs/runtime.md).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from flightllm.errors import ToolError
from flightllm.kernel.xclbin import Bank, Instance, Xclbin

#: names a simulated card's kernel (`flightllm.sim.card`)
SIMULATED = "FLIGHTLLM_CARD"


class Buffer(Protocol):
    """Memory on the card. address: where the kernel finds it."""

    address: int

    def write(self, offset: int, data: np.ndarray) -> None:
        """Copy uint8 [n] to the card."""

    def read(self, offset: int, count: int) -> np.ndarray:
        """Copy from the card: uint8 [count]."""


class Card(Protocol):
    """One card, and its kernel after `program`."""

    def program(self, xclbin: Xclbin, kernel: Instance) -> None:
        """Load the container and open its kernel; buffers from before are no longer valid. ToolError if the card refuses it."""

    def read(self, address: int, /) -> int:
        """A register of the kernel."""

    def write(self, address: int, value: int, /) -> None:
        """Write a register of the kernel."""

    def allocate(self, bank: Bank, size: int) -> Buffer:
        """Memory in a bank, `size` bytes. MemoryError if there is no room."""

    def close(self) -> None:
        """Leave the card to others."""


@dataclass(frozen=True)
class CardInfo:
    """A card that was found. driver: "pynq" or "pyxrt". platform: what its shell is called."""

    index: int
    platform: str
    driver: str

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"index": self.index, "platform": self.platform, "driver": self.driver}


_HELP = "install pynq 3.0.1 in an environment of its own (docs/deploy.md), or use the Python of XRT, which has pyxrt"


def _driver() -> str:
    """Name of the library that is used."""
    for name in ("pynq", "pyxrt"):
        if find_spec(name) is not None:
            return name
    raise ToolError("no card can be driven from here", why="neither pynq nor pyxrt is installed", do=_HELP)


def find_cards() -> list[CardInfo]:
    """The cards of this machine, in the order of their numbers.

    Raises:
        ToolError: there is no library that could find one, or it does not work.
    """
    driver = _driver()
    if driver == "pynq":
        from flightllm.runtime.pynq_card import platforms
    else:
        from flightllm.runtime.pyxrt_card import platforms
    return [CardInfo(i, name, driver) for i, name in enumerate(platforms())]


def open_card(index: int = 0) -> Card:
    """Card number `index` of `find_cards`.

    Raises:
        ToolError: there is no such card.
    """
    cards = find_cards()
    if not 0 <= index < len(cards):
        raise ToolError(
            f"there is no card number {index}" if cards else "no card was found",
            why=f"{len(cards)} found"
            if cards
            else f"{_driver()} finds none; does `xrt-smi examine` (or `xbutil examine`) list it?",
            do="see `flightllm board`; XRT's setup.sh has to be sourced before",
        )
    if cards[index].driver == "pynq":
        from flightllm.runtime.pynq_card import PynqCard

        return PynqCard(index)
    from flightllm.runtime.pyxrt_card import PyxrtCard

    return PyxrtCard(index)


def simulated() -> str:
    """What FLIGHTLLM_CARD says: the kernel of a simulated card, "" for none."""
    return os.environ.get(SIMULATED, "")


def xclbin_path(path: str | os.PathLike[str] | None) -> Path:
    """The file; ToolError if none was given."""
    if path is None:
        raise ToolError(
            "a card needs an xclbin",
            why="it is what the card is programmed with",
            do="give the one of the package's config: --xclbin FILE (docs/deploy.md says how it is built)",
        )
    return Path(path)
