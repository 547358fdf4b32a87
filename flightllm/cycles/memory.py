"""What a program's control reads of channel 0: attention masks, format tables and token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Bytes(Protocol):
    """Memory that can be read."""

    def read(self, addr: int, nbytes: int) -> np.ndarray:
        """uint8 [nbytes]; zero where nothing is known."""


class ImageBytes:
    """The image of a channel.

    Args:
        image: uint8, from address 0 on; not copied.
    """

    def __init__(self, image: np.ndarray) -> None:
        self._image = image

    def read(self, addr: int, nbytes: int) -> np.ndarray:
        """uint8 [nbytes]; zero beyond the end."""
        out = np.zeros(nbytes, np.uint8)
        part = self._image[addr : addr + nbytes]
        out[: part.size] = part
        return out


class ChannelMemory:
    """A channel's constants, and the token ids of a run above them.

    Args:
        constants: images, or what is known of them. ids_addr: of the token ids.
    """

    def __init__(self, constants: Bytes, ids_addr: int) -> None:
        self._constants, self._ids_addr = constants, ids_addr
        self._ids = np.zeros(0, np.uint8)

    def set_ids(self, ids: Sequence[int]) -> None:
        """Token ids of the next run."""
        self._ids = np.asarray(ids, "<i4").view(np.uint8)

    def read(self, addr: int, nbytes: int) -> np.ndarray:
        """uint8 [nbytes]: ids if it begins among them, else constants."""
        start = addr - self._ids_addr
        if not 0 <= start < self._ids.size:
            return self._constants.read(addr, nbytes)
        out = np.zeros(nbytes, np.uint8)
        part = self._ids[start : start + nbytes]
        out[: part.size] = part
        return out
