"""What a program's control reads of channel 0: attention masks, format tables and token ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class ChannelMemory:
    """The image of a channel, and the token ids of a run above it.

    Args:
        image: uint8, from address 0 on; not copied. ids_addr: of the token ids.
    """

    def __init__(self, image: np.ndarray, ids_addr: int) -> None:
        self._image, self._ids_addr = image, ids_addr
        self._ids = np.zeros(0, np.uint8)

    def set_ids(self, ids: Sequence[int]) -> None:
        """Token ids of the next run."""
        self._ids = np.asarray(ids, "<i4").view(np.uint8)

    def read(self, addr: int, nbytes: int) -> np.ndarray:
        """uint8 [nbytes]: the ids if it begins among them, else of the image; what is in neither is zero."""
        start = addr - self._ids_addr
        found = self._ids[start:] if 0 <= start < self._ids.size else self._image[addr:]
        out = np.zeros(nbytes, np.uint8)
        part = found[:nbytes]
        out[: part.size] = part
        return out
